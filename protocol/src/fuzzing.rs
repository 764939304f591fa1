//! Bodies of the fuzz targets; the corpus is replayed by a normal test.

use crate::convert;
use crate::ice::NodeSecret;
use crate::packet::{BatchReader, BatchWriter};
use crate::session::controller::Controller;
use crate::session::dataplane::{Dataplane, Event, Newcomer};
use crate::session::{Configuration, Identity, Ready};

/// Feeds any bytes to both ends at several points of their lives, and to the parser of single frames, whose output must
/// survive being written and parsed again.
///
/// # Panics
///
/// When it found a fault.
pub fn ipc_frames(data: &[u8]) {
    if let Ok(Some(frame)) = convert::parse(data) {
        let mut bytes = Vec::new();
        convert::write(&frame, &mut bytes);
        assert_eq!(convert::parse(&bytes), Ok(Some(frame)), "a frame that was read can be written");
    }
    let identity = |instance| Identity { software: String::new(), instance, capabilities: Vec::new() };
    let configuration = || Configuration { node_secret: NodeSecret::new([0; 32]), media_port: 1, listen: Vec::new() };
    let mut dataplane: Dataplane<u32> = Dataplane::new(identity(1), 1);
    let mut controller: Controller<u32> = Controller::new(identity(2), 1, configuration());
    controller.handle_connected();
    drop(controller.handle_bytes(data, [1, 2]));
    controller.handle_connected();
    drop(controller.handle_bytes(&dataplane.greeting(), []));
    controller.supply_descriptors(Vec::new());
    drop(Newcomer::new().handle_bytes(data, [1_u32]));
    let mut newcomer = Newcomer::new();
    while let Some(transmit) = controller.poll_transmit() {
        drop(newcomer.handle_bytes(&transmit.bytes, transmit.descriptors));
    }
    drop(controller.handle_bytes(data, [1, 2]));
    drop(dataplane.admit(newcomer));
    dataplane.ready(Ready { configuration: configuration(), shards: 1 }, Vec::new());
    drop(dataplane.handle_bytes(data, [1, 2]));
    while let Some(event) = dataplane.poll_event() {
        if let Event::Command { id, .. } = event {
            dataplane.acknowledge(id, Ok(()));
        }
    }
    while dataplane.poll_transmit().is_some() {}
    while controller.poll_transmit().is_some() {}
}

/// Reads any bytes as a batch of packets; what was read must survive being written and read again.
///
/// # Panics
///
/// When it found a fault.
pub fn packet_batch(data: &[u8]) {
    let mut buffer = vec![0; data.len()];
    let mut writer = BatchWriter::new(&mut buffer);
    let read: Vec<_> = BatchReader::new(data).collect();
    let written = read.iter().take_while(|packet| writer.write(**packet).is_ok()).count();
    let again: Vec<_> = BatchReader::new(writer.as_bytes()).collect();
    assert_eq!(read.get(..written), Some(again.as_slice()), "packets that were read can be written");
}
