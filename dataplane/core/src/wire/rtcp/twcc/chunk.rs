//! Packet status chunks (draft-holmer-rmcat-transport-wide-cc-extensions-01 sections 3.1.1 to 3.1.4).

/// The most packets of a run: 13 bits.
pub(super) const RUN_PLACES_MAX: usize = 0x1fff;
/// The bits of a vector's symbols.
const VECTOR_BITS: u16 = 14;

/// What is said about one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Symbol {
    Lost = 0,
    SmallDelta = 1,
    LargeDelta = 2,
    /// Received, but nobody says when.
    Untimed = 3,
}

impl Symbol {
    const fn from_bits(bits: u16) -> Self {
        match bits & 3 {
            0 => Self::Lost,
            1 => Self::SmallDelta,
            2 => Self::LargeDelta,
            _ => Self::Untimed,
        }
    }

    pub(super) const fn delta_size_bytes(self) -> usize {
        match self {
            Self::Lost | Self::Untimed => 0,
            Self::SmallDelta => 1,
            Self::LargeDelta => 2,
        }
    }
}

/// A chunk of symbols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunk {
    /// The same symbol many times.
    Run { symbol: Symbol, places: usize },
    /// Fourteen symbols of one bit: lost, or received with a small delta.
    Narrow(u16),
    /// Seven symbols of two bits.
    Wide(u16),
}

impl Chunk {
    pub(super) const fn from_bits(bits: u16) -> Self {
        match bits >> 14 {
            0 | 1 => Self::Run { symbol: Symbol::from_bits(bits >> 13), places: bits as usize & RUN_PLACES_MAX },
            2 => Self::Narrow(bits & 0x3fff),
            _ => Self::Wide(bits & 0x3fff),
        }
    }

    pub(super) fn to_bits(self) -> u16 {
        match self {
            Self::Run { symbol, places } => {
                ((symbol as u16) << 13) | u16::try_from(places.min(RUN_PLACES_MAX)).unwrap_or(0)
            }
            Self::Narrow(bits) => 0x8000 | bits,
            Self::Wide(bits) => 0xc000 | bits,
        }
    }

    /// Returns how many packets the chunk speaks of; behind the last one of a feedback its places mean nothing.
    pub(super) const fn places(self) -> usize {
        match self {
            Self::Run { places, .. } => places,
            Self::Narrow(_) => 14,
            Self::Wide(_) => 7,
        }
    }

    /// Returns the symbol at `place`, the first one highest; lost beyond the last place of a vector.
    pub(super) fn symbol(self, place: usize) -> Symbol {
        let place = u16::try_from(place).unwrap_or(VECTOR_BITS);
        match self {
            Self::Run { symbol, .. } => symbol,
            Self::Narrow(bits) => Symbol::from_bits((bits << 2 >> (VECTOR_BITS + 1 - place.min(VECTOR_BITS))) & 1),
            Self::Wide(bits) => Symbol::from_bits((bits << 2) >> (VECTOR_BITS - 2 * place.min(VECTOR_BITS / 2))),
        }
    }

    /// Returns the size of the deltas of the first `covered` places.
    pub(super) fn deltas_size_bytes(self, covered: usize) -> usize {
        match self {
            Self::Run { symbol, .. } => symbol.delta_size_bytes() * covered,
            Self::Narrow(_) | Self::Wide(_) => {
                (0..covered.min(self.places())).map(|place| self.symbol(place).delta_size_bytes()).sum()
            }
        }
    }

    /// Chooses the chunk that covers most of the front of `symbols`, and says how much of it; nothing for no symbols.
    pub(super) fn fitting(symbols: &[Symbol]) -> Option<(Self, usize)> {
        let first = *symbols.first()?;
        let run = symbols.iter().take(RUN_PLACES_MAX).take_while(|symbol| **symbol == first).count();
        let narrow =
            symbols.iter().take(14).take_while(|symbol| matches!(symbol, Symbol::Lost | Symbol::SmallDelta)).count();
        let wide = symbols.len().min(7);
        Some(if run >= narrow.max(wide) {
            (Self::Run { symbol: first, places: run }, run)
        } else if narrow >= wide && narrow == symbols.len().min(14) {
            (Self::Narrow(packed(symbols, 14, 1)), narrow)
        } else {
            (Self::Wide(packed(symbols, 7, 2)), wide)
        })
    }
}

/// Packs the first `places` symbols into the low bits, the first one highest.
fn packed(symbols: &[Symbol], places: usize, symbol_bits: u16) -> u16 {
    let padded = symbols.iter().copied().chain(core::iter::repeat(Symbol::Lost));
    padded.take(places).fold(0, |bits, symbol| (bits << symbol_bits) | symbol as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_those_of_the_drafts_examples() {
        use Symbol::{LargeDelta, Lost, SmallDelta};
        // Sections 3.1.3 and 3.1.4.
        assert_eq!(Chunk::from_bits(0b0000_0000_1101_1101), Chunk::Run { symbol: Lost, places: 221 });
        let narrow = Chunk::from_bits(0b1001_1111_0001_1100);
        let symbols: Vec<Symbol> = (0..14).map(|place| narrow.symbol(place)).collect();
        let expected = [0, 1, 1, 1, 1, 1, 0, 0, 0, 1, 1, 1, 0, 0].map(|bit| if bit == 1 { SmallDelta } else { Lost });
        assert_eq!(symbols, expected);
        let wide = Chunk::from_bits(0b1100_1101_0101_0000);
        let symbols: Vec<Symbol> = (0..7).map(|place| wide.symbol(place)).collect();
        assert_eq!(symbols, [Lost, Symbol::Untimed, SmallDelta, SmallDelta, SmallDelta, Lost, Lost]);
        assert_eq!(Chunk::fitting(&[SmallDelta, LargeDelta]), Some((Chunk::Wide(0b01_1000_0000_0000), 2)));
    }

    #[test]
    fn every_chunk_survives_its_bits() {
        for bits in 0..=u16::MAX {
            let chunk = Chunk::from_bits(bits);
            assert_eq!(chunk.to_bits(), bits);
            let symbols: Vec<Symbol> = (0..chunk.places().min(20)).map(|place| chunk.symbol(place)).collect();
            if let Chunk::Wide(_) = chunk {
                assert_eq!(packed(&symbols, 7, 2), bits & 0x3fff);
            } else if let Chunk::Narrow(_) = chunk {
                assert_eq!(packed(&symbols, 14, 1), bits & 0x3fff);
            }
        }
    }
}
