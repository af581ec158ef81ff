//! Names without what counts: a thread of a pool, or a worker of the kernel, is one of many.
//!
//! In: names as the kernel has them. Out: the names that two recordings share. Must not know: who has them.

use crate::model::Comm;

/// Every run of digits is one `N`: `worker-12` is `worker-N`, `kworker/1:2` is `kworker/N:N`.
pub fn normalised(comm: &Comm) -> Comm {
    let mut name = [0; 16];
    let mut places = name.iter_mut();
    let mut in_number = false;
    for &byte in comm.bytes() {
        let digit = byte.is_ascii_digit();
        if !(digit && in_number)
            && let Some(place) = places.next()
        {
            *place = if digit { b'N' } else { byte };
        }
        in_number = digit;
    }
    Comm(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_number_is_an_n() {
        for (name, group) in [
            ("worker-12", "worker-N"),
            ("kworker/1:2", "kworker/N:N"),
            ("kworker/u8:13", "kworker/uN:N"),
            ("42", "N"),
            ("N", "N"),
            ("init", "init"),
            ("", ""),
            ("a1b22c333d4444e", "aNbNcNdNe"),
        ] {
            assert_eq!(normalised(&name.into()), group.into(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn a_normalised_name_stays_and_holds_no_digit(name: [u8; 16]) {
            let once = normalised(&Comm(name));
            prop_assert_eq!(normalised(&once), once);
            prop_assert!(!once.bytes().iter().any(u8::is_ascii_digit));
        }
    }
}
