//! A film whose pictures show their number in large blocks: drawn, encoded, decoded and read.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use sluice_load::film::{Encoding, Film, PLAIN, Step};
use sluice_load::payload::{Codec, PictureSize};

use crate::assembled::{Whole, is_key};

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

/// libvpx with three temporal layers: 0, 2, 1, 2.
const THREE_LAYERS: &[Step] = &[
    Step { temporal: 0, back: 4 },
    Step { temporal: 2, back: 1 },
    Step { temporal: 1, back: 2 },
    Step { temporal: 2, back: 1 },
];
/// SVT-AV1 in low delay: the structure of its hierarchy of four levels.
const FOUR_LAYERS: &[Step] = &[
    Step { temporal: 0, back: 8 },
    Step { temporal: 3, back: 1 },
    Step { temporal: 2, back: 2 },
    Step { temporal: 3, back: 1 },
    Step { temporal: 1, back: 4 },
    Step { temporal: 3, back: 1 },
    Step { temporal: 2, back: 2 },
    Step { temporal: 3, back: 1 },
];

/// How the pictures of the film refer to each other.
pub(crate) const fn pattern(codec: Codec) -> &'static [Step] {
    match codec {
        Codec::Vp8 | Codec::Vp9 => THREE_LAYERS,
        Codec::Av1 => FOUR_LAYERS,
        Codec::H264 | Codec::Opus => PLAIN,
    }
}

/// Whether dependency descriptors tell the layers.
pub(crate) const fn is_described(codec: Codec) -> bool {
    matches!(codec, Codec::Vp9 | Codec::Av1)
}

/// What `FFmpeg` is told to encode one of [`SIZES`], and the file's suffix.
fn options(codec: Codec, index: usize) -> (String, &'static str) {
    const VPX: &str = "-deadline realtime -cpu-used 8 -lag-in-frames 0 -threads 1 -g 60 -keyint_min 60 -auto-alt-ref 0 \
                       -error-resilient 1";
    let bitrates = [[25, 40, 60], [60, 100, 150], [160, 260, 400]][index];
    let [base, middle, all] = bitrates;
    let layers = format!(
        "-b:v {all}k -ts-parameters ts_number_layers=3:ts_target_bitrate={base},{middle},{all}:ts_rate_decimator=4,2,1:\
         ts_periodicity=4:ts_layer_id=0,2,1,2:ts_layering_mode=3"
    );
    match codec {
        Codec::H264 => {
            let plain = "keyint=60:min-keyint=60:scenecut=0:sliced-threads=0:threads=1";
            let preset = "-c:v libx264 -preset superfast -tune zerolatency -profile:v baseline";
            (format!("{preset} -x264-params {plain} -bsf:v h264_metadata=aud=insert -b:v {all}k"), "h264")
        }
        Codec::Av1 => {
            let low_delay = "pred-struct=1:hierarchical-levels=3:lookahead=0:lp=1:scd=0";
            (format!("-c:v libsvtav1 -preset 8 -crf 20 -g 60 -svtav1-params {low_delay}"), "ivf")
        }
        Codec::Vp9 => (format!("-c:v libvpx-vp9 {VPX} -qmin 40 -qmax 63 {layers}"), "ivf"),
        Codec::Vp8 | Codec::Opus => (format!("-c:v libvpx {VPX} {layers}"), "ivf"),
    }
}

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
    let file = |index: usize| folder.join(format!("{index}.{}", options(codec, index).1));
    for (index, size) in SIZES.iter().enumerate() {
        let scale = format!("scale={}:{}:flags=neighbor,format=yuv420p", size.width, size.height);
        command.args(["-map", "0:v", "-vf", &scale]);
        command.args(options(codec, index).0.split_ascii_whitespace()).arg(file(index));
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
    Ok(Film {
        codec,
        pattern: pattern(codec),
        descriptors: is_described(codec),
        rate: RATE,
        entry_every: ENTRY_EVERY,
        encodings: encodings.into(),
    })
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
        stream.extend(b"DKIF\0\0\x20\0");
        stream.extend(match codec {
            Codec::Vp9 => b"VP90",
            Codec::Av1 => b"AV01",
            Codec::Vp8 | Codec::H264 | Codec::Opus => b"VP80",
        });
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
