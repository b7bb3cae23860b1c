//! Keeps a user on one release.
//!
//! A cookie holds a random id, nothing else. Its hash is a point from 0 to 9999, and the releases
//! share that line by weight, the newest from 0 on. While weights only grow towards newer releases
//! a user moves at most towards a newer release, and only when its share reaches their point.

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue};

use crate::config::Sticky;

/// The length of the line that releases share; 100 points are one percent.
pub(crate) const LINE: u32 = 10_000;
/// With a share of one percent a draw fails this often once in 10^17.
const MAX_DRAWS: u32 = 4096;
const ID_LENGTH: usize = 16;

/// Returns the cookie's name for a service.
pub(crate) fn cookie_name(sticky: &Sticky, service: &str) -> String {
    sticky
        .cookie
        .clone()
        .unwrap_or_else(|| format!("code-deploy-{service}"))
}

/// Returns the point of the user who sent these headers, if they carry a well-formed cookie.
pub(crate) fn point_of(headers: &HeaderMap, name: &str) -> Option<u32> {
    let id = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(key, value)| (key == name).then_some(value))?;
    let well_formed = id.len() == ID_LENGTH && id.bytes().all(|b| b.is_ascii_hexdigit());
    well_formed.then(|| point(id))
}

/// Draws an id whose point lies in a range.
pub(crate) fn draw(range: &std::ops::Range<u32>) -> String {
    let mut id = String::new();
    for _ in 0..MAX_DRAWS {
        id = format!("{:016x}", rand::random::<u64>());
        if range.contains(&point(&id)) {
            break;
        }
    }
    id
}

/// Adds the cookie to a response.
pub(crate) fn set(headers: &mut HeaderMap, sticky: &Sticky, name: &str, id: &str) {
    let seconds = sticky.max_age.as_secs();
    let cookie = format!("{name}={id}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}");
    if let Ok(value) = HeaderValue::from_str(&cookie) {
        headers.append(SET_COOKIE, value);
    }
}

/// FNV-1a with a final mix: the same in every build, which the standard hasher does not promise.
fn point(id: &str) -> u32 {
    let mut hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    u32::try_from(hash % u64::from(LINE)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawn_id_lies_in_its_range_and_is_read_back() {
        for range in [0..100, 100..LINE, 9_900..LINE] {
            let id = draw(&range);
            let mut headers = HeaderMap::new();
            let cookie = format!("other=1; code-deploy-web={id}");
            if let Ok(value) = HeaderValue::from_str(&cookie) {
                headers.insert(COOKIE, value);
            }
            let point = point_of(&headers, "code-deploy-web");
            assert!(point.is_some_and(|point| range.contains(&point)));
        }
    }

    #[test]
    fn a_cookie_of_another_form_is_as_none() {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, HeaderValue::from_static("code-deploy-web=1.1.0"));
        assert_eq!(point_of(&headers, "code-deploy-web"), None);
    }
}
