//! Foreign stacks publish by WHIP and play by WHEP, each against another one: what one encodes, the other decodes.
#![cfg(test)]

mod expect;
mod joins;
mod pairs;
mod stacks;
