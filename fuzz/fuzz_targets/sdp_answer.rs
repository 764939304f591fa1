#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sluice_controlplane_core::fuzzing::sdp_answer(data));
