//! Tests of Sluice as a whole; see the folders beside `src`.
