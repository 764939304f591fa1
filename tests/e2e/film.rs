//! A film whose pictures show their number in large blocks: drawn, encoded, put together again out of packets, decoded and read.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use sluice_load::film::{Encoding, Film, Recorded};
use sluice_load::payload::{Codec, PictureSize};

/// Blocks of a picture; 16 tell its number, 16 the opposite.
const BLOCKS: [usize; 2] = [8, 4];
const BITS: usize = BLOCKS[0] * BLOCKS[1] / 2;
/// Encodings, the smallest first.
pub(crate) const SIZES: [PictureSize; 3] = [
    PictureSize { width: 128, height: 64 },
    PictureSize { width: 256, height: 128 },
    PictureSize { width: 512, height: 256 },
];
pub(crate) const RATE: u32 = 15;
/// Pictures of the film: twenty seconds.
pub(crate) const PICTURES: usize = 300;
/// A key frame can begin at every fifth picture: an encoder that is asked for one takes 330 ms at most.
const ENTRY_EVERY: usize = 5;
/// Pictures from a key frame to the next one when nobody asks: four seconds, longer than a server keeps key frames.
const GROUP: usize = 60;
/// Spreads numbers over all blocks, so that half of them change from a picture to the next one, and a picture that is put
/// together of two shows no number at all. Odd, so that it can be turned back.
const SPREAD: u16 = 40_503;

/// Encodes the film.
///
/// # Errors
/// When `FFmpeg` fails, or encodes in another way than it was told to.
pub(crate) fn encode(codec: Codec, folder: &Path) -> Result<Film> {
    let drawn: Vec<u8> = (0..PICTURES / ENTRY_EVERY)
        .flat_map(|group| (0..GROUP).map(move |place| (group * ENTRY_EVERY + place) % PICTURES))
        .flat_map(draw)
        .collect();
    let source = folder.join("drawn.gray");
    fs::write(&source, drawn)?;
    let mut command = ffmpeg();
    command.args(["-f", "rawvideo", "-pix_fmt", "gray", "-s", "8x4", "-r", &RATE.to_string(), "-i"]).arg(&source);
    let (options, suffix): (&[&str], _) = if codec == Codec::H264 {
        let plain = "keyint=60:min-keyint=60:scenecut=0:sliced-threads=0:threads=1";
        let preset = ["-c:v", "libx264", "-preset", "superfast", "-tune", "zerolatency", "-profile:v", "baseline"];
        (&[&preset[..], &["-x264-params", plain, "-bsf:v", "h264_metadata=aud=insert"]].concat(), "h264")
    } else {
        let speed =
            ["-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-lag-in-frames", "0", "-threads", "1"];
        (&[&speed[..], &["-g", "60", "-keyint_min", "60", "-auto-alt-ref", "0"]].concat(), "ivf")
    };
    let file = |index: usize| folder.join(format!("{index}.{suffix}"));
    for (index, size) in SIZES.iter().enumerate() {
        let scale = format!("scale={}:{}:flags=neighbor,format=yuv420p", size.width, size.height);
        command.args(["-map", "0:v", "-vf", &scale]).args(options);
        command.args(["-b:v", ["60k", "150k", "400k"][index]]).arg(file(index));
    }
    run(&mut command)?;
    let encodings = (0..SIZES.len()).map(|index| {
        let stream = fs::read(file(index))?;
        let pictures = if codec == Codec::H264 { units_of_access(&stream) } else { ivf(&stream)? };
        let groups: Vec<_> = pictures.chunks(GROUP).map(<[_]>::to_vec).collect();
        ensure!(pictures.len() == PICTURES / ENTRY_EVERY * GROUP, "{} pictures", pictures.len());
        let keys = pictures.iter().map(|picture| is_key(codec, picture));
        ensure!(keys.enumerate().all(|(place, key)| key == place.is_multiple_of(GROUP)), "key frames stand elsewhere");
        Ok(Encoding { groups })
    });
    let encodings = encodings.collect::<Result<Vec<_>>>()?;
    Ok(Film { codec, rate: RATE, entry_every: ENTRY_EVERY, encodings: encodings.into() })
}

fn draw(number: usize) -> Vec<u8> {
    let spread = u16::try_from(number).unwrap().wrapping_mul(SPREAD);
    let bits = (0..BITS).map(|bit| spread >> bit & 1 == 1);
    let opposite = bits.clone().map(|bit| !bit).collect::<Vec<_>>();
    bits.chain(opposite.into_iter().rev()).map(|bit| if bit { 255 } else { 0 }).collect()
}

/// Reads the number of a picture of one pixel per block; none where it shows none.
fn read(blocks: &[u8]) -> Option<usize> {
    let bits = blocks.iter().map(|light| match light {
        0..96 => Some(false),
        160.. => Some(true),
        _ => None,
    });
    let bits = bits.collect::<Option<Vec<bool>>>()?;
    let (shown, opposite) = bits.split_at(BITS);
    let fits = shown.iter().zip(opposite.iter().rev()).all(|(bit, opposite)| bit != opposite);
    let spread = shown.iter().enumerate().fold(0_u16, |number, (bit, is_set)| number | u16::from(*is_set) << bit);
    (0..PICTURES).find(|number| fits && u16::try_from(*number).unwrap().wrapping_mul(SPREAD) == spread)
}

/// A picture that a decoder may be given: whole, and nothing that it needs is missing.
#[derive(Debug, Clone)]
pub(crate) struct Whole {
    /// When its last packet came.
    pub(crate) at: Instant,
    pub(crate) timestamp: u32,
    /// What its descriptor says, where there is one.
    pub(crate) picture_id: Option<u16>,
    pub(crate) is_key: bool,
    pub(crate) bitstream: Vec<u8>,
}

/// What was put together of packets.
#[derive(Debug, Default)]
pub(crate) struct Assembled {
    pub(crate) pictures: Vec<Whole>,
    /// Packets that never came.
    pub(crate) missing: u64,
    /// Whole pictures that a decoder is not given, because one before them is missing.
    pub(crate) passed_over: usize,
}

/// Puts pictures together as a receiver does: in the order of sequence numbers; from a gap on it waits for a key frame.
pub(crate) fn assemble(codec: Codec, packets: Vec<Recorded>) -> Result<Assembled> {
    let mut ordered = BTreeMap::new();
    for packet in packets {
        let number = packet.sequence;
        if let Some(other) = ordered.insert(number, packet) {
            bail!("number {number} came twice: {}", other.timestamp);
        }
    }
    let mut assembled = Assembled::default();
    let (mut open, mut before, mut runs): (Vec<Recorded>, Option<u64>, bool) = (Vec::new(), None, false);
    for packet in ordered.into_values() {
        let gap = before.map_or(0, |before| packet.sequence - before - 1);
        before = Some(packet.sequence);
        if gap > 0 {
            assembled.missing += gap;
            (runs, open) = (false, Vec::new());
        }
        if open.last().is_some_and(|last: &Recorded| last.timestamp != packet.timestamp) {
            bail!("a picture has no end, and nothing is missing: before {}", packet.sequence);
        }
        let ends = packet.marker;
        open.push(packet);
        if !ends {
            continue;
        }
        let Some(whole) = join(codec, &std::mem::take(&mut open)) else {
            // It has lost its beginning.
            ensure!(!runs, "a picture without a beginning, and nothing is missing");
            continue;
        };
        runs |= whole.is_key;
        if runs {
            assembled.pictures.push(whole);
        } else {
            assembled.passed_over += 1;
        }
    }
    Ok(assembled)
}

fn join(codec: Codec, packets: &[Recorded]) -> Option<Whole> {
    let (first, last) = (packets.first()?, packets.last()?);
    let at = packets.iter().map(|packet| packet.at).max()?;
    let (mut bitstream, mut picture_id) = (Vec::new(), None);
    if codec == Codec::H264 {
        starts_access(&first.payload).then_some(())?;
        bitstream.extend([0, 0, 0, 1, 9, 0xf0]);
        packets.iter().try_for_each(|packet| join_h264(&mut bitstream, &packet.payload))?;
    } else {
        // S, and partition 0.
        (first.payload.first()? & 0x1f == 0x10).then_some(())?;
        for packet in packets {
            let (id, content) = vp8(&packet.payload)?;
            picture_id = id;
            bitstream.extend(content);
        }
    }
    let is_key = is_key(codec, &bitstream);
    Some(Whole { at, timestamp: last.timestamp, picture_id, is_key, bitstream })
}

/// Whether a payload begins with what a picture begins with: parameter sets, a message, or a slice's first macroblock.
fn starts_access(payload: &[u8]) -> bool {
    let slice = |unit: Option<&u8>, content: Option<&u8>| match unit.map(|unit| unit & 0x1f) {
        Some(6..=9) => true,
        Some(1 | 5) => content.is_some_and(|byte| byte & 0x80 != 0),
        _ => false,
    };
    match payload.first().map(|header| header & 0x1f) {
        Some(24) => slice(payload.get(3), payload.get(4)),
        Some(28) => payload.get(1).is_some_and(|header| header & 0x80 != 0) && slice(payload.get(1), payload.get(2)),
        _ => slice(payload.first(), payload.get(1)),
    }
}

/// RFC 6184, sections 5.6 to 5.8.
fn join_h264(stream: &mut Vec<u8>, payload: &[u8]) -> Option<()> {
    const START: [u8; 4] = [0, 0, 0, 1];
    match payload.first()? & 0x1f {
        24 => {
            let mut rest = payload.get(1..)?;
            while let Some((size, after)) = rest.split_first_chunk() {
                let (unit, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*size)))?;
                stream.extend(START.iter().chain(unit));
                rest = after;
            }
        }
        28 => {
            let [indicator, header, content @ ..] = payload else { return None };
            if header & 0x80 != 0 {
                stream.extend(START.iter().chain(&[indicator & 0xe0 | header & 0x1f]));
            }
            stream.extend(content);
        }
        _ => stream.extend(START.iter().chain(payload)),
    }
    Some(())
}

/// Picture id and bitstream, RFC 7741 section 4.2.
fn vp8(payload: &[u8]) -> Option<(Option<u16>, &[u8])> {
    let (first, mut rest) = payload.split_first()?;
    let mut id = None;
    if first & 0x80 != 0 {
        let (fields, after) = rest.split_first()?;
        rest = after;
        if fields & 0x80 != 0 {
            let long = rest.first()? & 0x80 != 0;
            let (bytes, after) = rest.split_at_checked(if long { 2 } else { 1 })?;
            id = Some(bytes.iter().fold(0, |id, byte| id << 8 | u16::from(*byte)) & 0x7fff);
            rest = after;
        }
        let more = usize::from(fields & 0x40 != 0) + usize::from(fields & 0x30 != 0);
        rest = rest.get(more..)?;
    }
    Some((id, rest))
}

fn is_key(codec: Codec, picture: &[u8]) -> bool {
    match codec {
        Codec::H264 => picture.windows(4).any(|it| it[..3] == [0, 0, 1] && it[3] & 0x1f == 5),
        Codec::Vp8 | Codec::Vp9 | Codec::Av1 | Codec::Opus => picture.first().is_some_and(|tag| tag & 1 == 0),
    }
}

/// A picture that was decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// None where it shows none.
    pub(crate) number: Option<usize>,
    pub(crate) size: [u16; 2],
}

/// Decodes pictures one after the other, and reads them.
///
/// # Errors
/// When `FFmpeg` does not start, or decodes another number of pictures than there are, or complains.
pub(crate) fn decode(codec: Codec, pictures: &[Whole], folder: &Path) -> Result<Vec<Seen>> {
    let (path, out) = (folder.join("received"), folder.join("decoded.gray"));
    let mut stream = Vec::new();
    if codec != Codec::H264 {
        stream.extend(b"DKIF\0\0\x20\0VP80");
        stream.extend([0, 2, 0, 1, 15, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
    for (picture, time) in pictures.iter().zip(0_u64..) {
        if codec != Codec::H264 {
            stream.extend(u32::try_from(picture.bitstream.len())?.to_le_bytes());
            stream.extend(time.to_le_bytes());
        }
        stream.extend(&picture.bitstream);
    }
    fs::write(&path, stream)?;
    let mut command = ffmpeg();
    command.args(["-f", if codec == Codec::H264 { "h264" } else { "ivf" }, "-threads", "1", "-i"]).arg(&path);
    command.args(["-fps_mode", "passthrough", "-vf", "showinfo=checksum=0,scale=8:4:flags=area,format=gray"]);
    let output = run(command.args(["-f", "rawvideo"]).arg(&out))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let bad =
        said.lines().filter(|line| ["rror", "oncealing", "nvalid", "orrupt"].iter().any(|word| line.contains(word)));
    let bad: Vec<_> = bad.take(10).collect();
    ensure!(bad.is_empty(), "the decoder complains: {bad:#?}");
    let sizes = said.lines().filter(|line| line.contains("Parsed_showinfo")).filter_map(size_of).collect::<Vec<_>>();
    let blocks = fs::read(&out)?;
    let read: Vec<_> = blocks.chunks(BLOCKS[0] * BLOCKS[1]).map(read).collect();
    let counts = [pictures.len(), sizes.len(), read.len()];
    ensure!(counts == [counts[0]; 3], "given, told of, and decoded: {counts:?} pictures");
    Ok(read.into_iter().zip(sizes).map(|(number, size)| Seen { number, size }).collect())
}

/// The size in a line of `showinfo`.
fn size_of(line: &str) -> Option<[u16; 2]> {
    let (width, height) = line.split(" s:").nth(1)?.split(' ').next()?.split_once('x')?;
    Some([width.parse().ok()?, height.parse().ok()?])
}

fn ivf(file: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut rest = file.get(32..).context("no header")?;
    let mut pictures = Vec::new();
    while let Some((header, after)) = rest.split_first_chunk::<12>() {
        let size = usize::try_from(u32::from_le_bytes(*header.first_chunk().context("a size")?))?;
        let (picture, after) = after.split_at_checked(size).context("it ends early")?;
        pictures.push(picture.to_vec());
        rest = after;
    }
    Ok(pictures)
}

/// Splits a stream at its access unit delimiters.
fn units_of_access(stream: &[u8]) -> Vec<Vec<u8>> {
    let starts = stream.windows(5).enumerate().filter(|(_, it)| it[..4] == [0, 0, 0, 1] && it[4] & 0x1f == 9);
    let starts: Vec<usize> = starts.map(|(place, _)| place).collect();
    let ends = starts.iter().skip(1).copied().chain([stream.len()]);
    starts.iter().zip(ends).map(|(start, end)| stream[*start..end].to_vec()).collect()
}

fn ffmpeg() -> Command {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-nostats", "-hide_banner", "-y"]);
    command
}

fn run(command: &mut Command) -> Result<Output> {
    let output = command.output().context("FFmpeg starts")?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output)
}

#[test]
fn a_picture_is_read_as_it_was_drawn_and_one_of_two_pictures_is_not() {
    for number in 0..PICTURES {
        assert_eq!(read(&draw(number)), Some(number));
        let other = draw((number + 1) % PICTURES);
        let mixed: Vec<u8> = draw(number).into_iter().take(BITS).chain(other.into_iter().skip(BITS)).collect();
        assert_eq!(read(&mixed), None);
    }
    assert_eq!(read(&[128; 32]), None);
}
