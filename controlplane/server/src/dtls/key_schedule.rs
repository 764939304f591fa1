//! From the key exchange's outcome to all keys (RFC 5246 sections 5, 6.3 and 8.1, RFC 5705, RFC 7627).
//!
//! What keys come from is wiped where it is let go of. The keys of SRTP, and the state that is parked, are the data
//! plane's as much as ours, and stay as long as the session does.

use aws_lc_rs::digest;
use aws_lc_rs::hmac;
use sluice_protocol::media::{MasterKey, SrtpKeys, SrtpProfile};
use zeroize::Zeroizing;

/// The exporter's label of SRTP (RFC 5764 section 4.2).
const EXPORTER_LABEL: &[u8] = b"EXTRACTOR-dtls_srtp";
/// Bytes of a Finished's content (RFC 5246 section 7.4.9).
pub(super) const VERIFY_DATA_BYTES: usize = 12;

/// Key and implicit nonce of one direction.
pub(super) struct WriteKey {
    pub(super) key: Zeroizing<[u8; 16]>,
    pub(super) salt: Zeroizing<[u8; 4]>,
}

/// Whose message a Finished is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

/// What all keys of an association come from.
pub(super) struct Secrets {
    master: Zeroizing<[u8; 48]>,
    client_random: [u8; 32],
    server_random: [u8; 32],
}

impl Secrets {
    /// Derives the extended master secret (RFC 7627 section 4): `transcript` holds all messages from the `ClientHello`
    /// to the `ClientKeyExchange`.
    pub(super) fn new(pre_master: &[u8], transcript: &[u8], client_random: [u8; 32], server_random: [u8; 32]) -> Self {
        let mut master = Zeroizing::new([0; 48]);
        let session_hash = digest::digest(&digest::SHA256, transcript);
        prf(pre_master, &[b"extended master secret", session_hash.as_ref()], &mut *master);
        Self { master, client_random, server_random }
    }

    /// Derives the client's and the server's write keys (RFC 5246 section 6.3).
    pub(super) fn write_keys(&self) -> (WriteKey, WriteKey) {
        let mut block = Zeroizing::new([0; 40]);
        prf(&*self.master, &[b"key expansion", &self.server_random, &self.client_random], &mut *block);
        let mut rest = Pieces(&*block);
        let (client_key, server_key) = (rest.take(), rest.take());
        let (client_salt, server_salt) = (rest.take(), rest.take());
        (WriteKey { key: client_key, salt: client_salt }, WriteKey { key: server_key, salt: server_salt })
    }

    /// Derives the content of a Finished (RFC 5246 section 7.4.9) after the messages in `transcript`.
    pub(super) fn verify_data(&self, side: Side, transcript: &[u8]) -> [u8; VERIFY_DATA_BYTES] {
        let label: &[u8] = match side {
            Side::Client => b"client finished",
            Side::Server => b"server finished",
        };
        let mut data = [0; VERIFY_DATA_BYTES];
        prf(&*self.master, &[label, digest::digest(&digest::SHA256, transcript).as_ref()], &mut data);
        data
    }

    /// Exports the keys of SRTP (RFC 5705 section 4, RFC 5764 section 4.2).
    pub(super) fn srtp_keys(&self, profile: SrtpProfile) -> SrtpKeys {
        let (key, salt) = (profile.key_bytes(), profile.salt_bytes());
        let mut material = Zeroizing::new([0; 2 * (32 + 14)]);
        let (material, _) = material.split_at_mut(2 * (key + salt));
        prf(&*self.master, &[EXPORTER_LABEL, &self.client_random, &self.server_random], material);
        let (keys, salts) = material.split_at(2 * key);
        let ((client_key, server_key), (client_salt, server_salt)) = (keys.split_at(key), salts.split_at(salt));
        let remote = master_key(client_key, client_salt);
        SrtpKeys { profile, local: master_key(server_key, server_salt), remote }
    }
}

/// Gives out a block piece by piece.
struct Pieces<'a>(&'a [u8]);

impl Pieces<'_> {
    fn take<const N: usize>(&mut self) -> Zeroizing<[u8; N]> {
        let (piece, rest) = self.0.split_first_chunk().expect("the block is as long as all pieces");
        self.0 = rest;
        Zeroizing::new(*piece)
    }
}

fn master_key(key: &[u8], salt: &[u8]) -> MasterKey {
    let mut master = MasterKey { key: [0; 32], salt: [0; 14] };
    master.key.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    master.salt.iter_mut().zip(salt).for_each(|(to, from)| *to = *from);
    master
}

/// The pseudo-random function with SHA-256 (RFC 5246 section 5); `seed` is label and seed in pieces.
fn prf(secret: &[u8], seed: &[&[u8]], out: &mut [u8]) {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let sign = |first: &[u8], seed: &[&[u8]]| {
        let mut context = hmac::Context::with_key(&key);
        context.update(first);
        seed.iter().for_each(|piece| context.update(piece));
        context.sign()
    };
    let mut a = sign(&[], seed);
    for block in out.chunks_mut(32) {
        let bytes = sign(a.as_ref(), seed);
        block.iter_mut().zip(bytes.as_ref()).for_each(|(to, from)| *to = *from);
        a = sign(a.as_ref(), &[]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keys_come_from_is_wiped_where_it_is_let_go_of() {
        fn is_wiped<T: zeroize::ZeroizeOnDrop>(_: &T) {}
        let Secrets { master, .. } = Secrets::new(b"agreed", b"said", [1; 32], [2; 32]);
        is_wiped(&master);
        let (WriteKey { key, salt }, _) =
            Secrets { master, client_random: [1; 32], server_random: [2; 32] }.write_keys();
        is_wiped(&key);
        is_wiped(&salt);
    }

    #[test]
    fn the_pseudo_random_function_gives_the_published_bytes() {
        // The vector for P_SHA256 that circulates with the TLS working group (mailing list, 2009).
        let hex = |text: &str| -> Vec<u8> {
            (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
        };
        let mut out = [0; 100];
        let seed = hex("a0ba9f936cda311827a6f796ffd5198c");
        prf(&hex("9bbe436ba940f017b17652849a71db35"), &[b"test label", &seed], &mut out);
        let expected = "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a6b301791e90d35c9c9a46b4e14baf9af0fa0\
            22f7077def17abfd3797c0564bab4fbc91666e9def9b97fce34f796789baa48082d122ee42c5a72e5a5110fff70187347b66";
        assert_eq!(out.to_vec(), hex(expected));
    }
}
