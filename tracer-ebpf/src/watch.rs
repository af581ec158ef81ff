//! Which threads are watched, by tid. The collector names those that exist at the start, births inherit.
//! More threads than the user asked for may be watched, never fewer.
//!
//! Written at each birth and never at an end: a dying thread's number can be another's before its last
//! switch.

use tracer_common::{counters::WatchBlock, settings::feature};

use crate::{
    maps::{Bytes, WATCHED},
    settings::has,
};

/// Whether the stream is to tell of this thread. The idle threads are never watched by themselves.
#[inline(always)]
pub fn is_watched(tid: u32) -> bool {
    // SAFETY: a byte of the map.
    !has(feature::NARROW)
        || byte(&WATCHED, tid).is_some_and(|place| unsafe { place.read_volatile() } != 0)
}

/// At a birth: `child` is watched or is not, whoever had its number before.
#[inline(always)]
pub fn set(child: u32, watched: bool) {
    if has(feature::NARROW)
        && let Some(place) = byte(&WATCHED, child)
    {
        // SAFETY: a byte of the map.
        unsafe { place.write_volatile(u8::from(watched)) };
    }
}

/// That of a thread.
#[inline(always)]
pub fn byte(bytes: &Bytes, tid: u32) -> Option<*mut u8> {
    const SIZE: u32 = size_of::<WatchBlock>() as u32;
    let block = bytes.get_ptr_mut(tid / SIZE)?;
    // SAFETY: below the size of the block.
    Some(unsafe { block.cast::<u8>().add((tid % SIZE) as usize) })
}
