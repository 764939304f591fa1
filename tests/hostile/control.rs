//! Strangers at the data plane's control socket.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use tokio::task::block_in_place;

use crate::datagram::Noise;
use crate::stage::Stage;

/// `ErrorCode` of `ipc.proto`.
const FENCED: u64 = 2;
const FRAME_TOO_LONG: u64 = 3;
const MALFORMED: u64 = 4;
const PROTOCOL: u64 = 5;

/// Bodies of `Frame`.
const HELLO: u64 = 1;
const ERROR: u64 = 2;
const PING: u64 = 3;

/// Somebody who has connected and was greeted.
struct Stranger {
    stream: UnixStream,
    /// The fields of the data plane's hello that are numbers.
    greeting: Vec<(u64, u64)>,
}

impl Stranger {
    fn connect(stage: &Stage) -> Self {
        let mut stream = UnixStream::connect(stage.server.data_dir().join("dataplane.sock")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
        let (body, fields) = read_frame(&mut stream).expect("a greeting");
        assert_eq!(body, HELLO);
        Self { stream, greeting: fields }
    }

    fn number(&self, field: u64) -> u64 {
        self.greeting.iter().find(|(number, _)| *number == field).map_or(0, |(_, value)| *value)
    }

    /// Says what a controller of `epoch` says first.
    fn hello(&self, epoch: u64) -> Vec<u8> {
        let mut hello = Vec::new();
        // Role, versions and epoch; the process's instance is a fixed number of eight bytes.
        for (field, value) in [(1, 1), (2, self.number(2)), (3, self.number(3))] {
            write_number(&mut hello, field, value);
        }
        hello.push(5 << 3 | 1);
        hello.extend_from_slice(&[9; 8]);
        write_number(&mut hello, 6, epoch);
        frame(HELLO, &hello)
    }

    /// Sends, and returns the code of the error with which the data plane closes.
    fn refused_with(mut self, bytes: &[u8]) -> u64 {
        // The data plane may close before it has taken everything.
        drop(self.stream.write_all(bytes));
        let (body, fields) = read_frame(&mut self.stream).expect("a reason");
        assert_eq!(body, ERROR);
        let ended = self.stream.read(&mut [0; 1]);
        assert!(matches!(ended, Ok(0)) || ended.is_err_and(|error| error.raw_os_error() == Some(104)), "it closes");
        fields.iter().find(|(number, _)| *number == 1).map_or(0, |(_, code)| *code)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_at_the_control_socket_are_told_why_and_forwarding_goes_on() {
    let mut stage = Stage::start().await;
    let (before, dataplane) = (stage.before().await, stage.server.dataplane_pid().await.unwrap());
    block_in_place(|| {
        let mut noise = Noise::new(3);
        let stranger = Stranger::connect(&stage);
        let epoch = stranger.number(6);
        assert!(epoch > 0, "the data plane has a controller: {:?}", stranger.greeting);
        assert_eq!(stranger.refused_with(&[0xff; 64]), FRAME_TOO_LONG);
        let garbage = [&64_u32.to_le_bytes()[..], &[0xff; 64]].concat();
        assert_eq!(Stranger::connect(&stage).refused_with(&garbage), MALFORMED);
        assert_eq!(Stranger::connect(&stage).refused_with(&frame(PING, &[9, 0, 0, 0, 0, 0, 0, 0, 1])), PROTOCOL);
        for lower in [0, epoch - 1, epoch] {
            let stranger = Stranger::connect(&stage);
            let hello = stranger.hello(lower);
            assert_eq!(stranger.refused_with(&hello), FENCED, "epoch {lower} where {epoch} rules");
        }
        for _ in 0..200 {
            let mut stranger = Stranger::connect(&stage);
            let size = noise.next() % 5000;
            drop(stranger.stream.write_all(&noise.bytes(usize::try_from(size).unwrap())));
        }
    });
    assert_eq!(stage.server.dataplane_pid().await.unwrap(), dataplane, "the same process serves");
    stage.assert_undisturbed(&before).await;
    stage.assert_newcomer_is_served("newcomer").await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_who_say_nothing_do_not_keep_the_control_plane_out() {
    let mut stage = Stage::start().await;
    let before = stage.before().await;
    let path = stage.server.data_dir().join("dataplane.sock");
    let _silent: Vec<_> = (0..20).map(|_| UnixStream::connect(&path).unwrap()).collect();
    stage.server.kill_controlplane().unwrap();
    stage.server.start_controlplane().await.unwrap();
    stage.assert_newcomer_is_served("newcomer").await;
    // Another process holds other memory.
    let after = stage.before().await;
    stage.assert_lost_nothing(&before).await;
    stage.assert_undisturbed(&after).await;
    stage.end().await;
}

fn frame(body: u64, content: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    write_varint(&mut message, body << 3 | 2);
    write_varint(&mut message, content.len() as u64);
    message.extend_from_slice(content);
    [&u32::try_from(message.len()).unwrap().to_le_bytes()[..], &message].concat()
}

fn write_number(message: &mut Vec<u8>, field: u64, value: u64) {
    write_varint(message, field << 3);
    write_varint(message, value);
}

fn write_varint(message: &mut Vec<u8>, mut value: u64) {
    while value > 127 {
        message.push((value & 127) as u8 | 128);
        value >>= 7;
    }
    message.push((value & 127) as u8);
}

/// Reads a frame: which body it has, and the numbers in it.
fn read_frame(stream: &mut UnixStream) -> std::io::Result<(u64, Vec<(u64, u64)>)> {
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    let mut message = vec![0; u32::from_le_bytes(size) as usize];
    stream.read_exact(&mut message)?;
    let mut rest = message.as_slice();
    let body = read_varint(&mut rest) >> 3;
    let _size = read_varint(&mut rest);
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let key = read_varint(&mut rest);
        match key & 7 {
            0 => fields.push((key >> 3, read_varint(&mut rest))),
            1 => rest = &rest[8..],
            2 => {
                let size = usize::try_from(read_varint(&mut rest)).unwrap();
                rest = &rest[size..];
            }
            kind => panic!("wire type {kind}"),
        }
    }
    Ok((body, fields))
}

fn read_varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().expect("a whole number");
        *bytes = rest;
        value |= u64::from(first & 127) << shift;
        if first & 128 == 0 {
            break;
        }
    }
    value
}
