#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sluice_controlplane::dtls::fuzzing::client_hello(data));
