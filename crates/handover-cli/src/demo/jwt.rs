//! Signed tokens for the demo: JSON Web Tokens (RFC 7519) with HMAC-SHA-256 (HS256).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

/// The key of one run of the demo.
pub(crate) type Key = [u8; 32];

fn mac(key: &Key, signed: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(signed.as_bytes());
    mac
}

/// The token with these claims.
pub(crate) fn sign(key: &Key, claims: &Json) -> String {
    let header = json!({ "alg": "HS256", "typ": "JWT" });
    let signed = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()));
    let signature = BASE64.encode(mac(key, &signed).finalize().into_bytes());
    format!("{signed}.{signature}")
}

/// The claims of a token, if its signature is that of the key.
pub(crate) fn verify(key: &Key, token: &str) -> Option<Json> {
    let (signed, signature) = token.rsplit_once('.')?;
    let signature = BASE64.decode(signature).ok()?;
    mac(key, signed).verify_slice(&signature).ok()?;
    let claims = BASE64.decode(signed.split_once('.')?.1).ok()?;
    serde_json::from_slice(&claims).ok()
}

/// What tells two tokens apart and gives neither away.
pub(crate) fn fingerprint(token: &str) -> String {
    BASE64.encode(Sha256::digest(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_token_is_refused() {
        let (key, claims) = ([7; 32], json!({ "sub": "somebody" }));
        let token = sign(&key, &claims);
        assert_eq!(verify(&key, &token), Some(claims.clone()));
        assert_eq!(verify(&[8; 32], &token), None);
        let other = sign(&key, &json!({ "sub": "somebody else" }));
        let (signed, _) = other.rsplit_once('.').unwrap();
        let (_, signature) = token.rsplit_once('.').unwrap();
        assert_eq!(verify(&key, &format!("{signed}.{signature}")), None);
        assert_eq!(verify(&key, "no token"), None);
    }

    #[test]
    fn the_signature_is_that_of_rfc_2104_with_sha_256() {
        // RFC 4231, test case 1, with its key padded by zeros to a whole array: HMAC pads keys likewise.
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        let signature = mac(&key, "Hi There").finalize().into_bytes();
        assert_eq!(signature[..4], [0xb0, 0x34, 0x4c, 0x61]);
    }
}
