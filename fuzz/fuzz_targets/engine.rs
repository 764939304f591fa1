#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sluice_dataplane_core::fuzzing::fuzz_engine(data));
