//! Loads and stores of one naturally aligned integer, each a single instruction that the language does not
//! see.
//!
//! # Safety
//!
//! For all of them: as for [`load`](super::load) and [`store`](super::store) with the bytes of the integer,
//! and the pointer must be aligned. `memory` says why they are sound, and relies on them.

pub(super) use self::by_processor::{load_u8, load_u16, load_u32, load_u64, store_u8, store_u64};

#[cfg(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)))]
mod by_processor {
    use std::arch::asm;

    macro_rules! loads {
        ($($name:ident: $integer:ty, $register:ty, $x86:literal, $arm:literal;)*) => {$(
            #[inline]
            pub(in crate::memory) unsafe fn $name(at: *const $integer) -> $integer {
                let value: $register;
                // SAFETY: reads the integer and nothing else.
                unsafe {
                    #[cfg(target_arch = "x86_64")]
                    asm!($x86, at = in(reg) at, value = out(reg) value,
                        options(nostack, preserves_flags, readonly));
                    #[cfg(target_arch = "aarch64")]
                    asm!($arm, at = in(reg) at, value = out(reg) value,
                        options(nostack, preserves_flags, readonly));
                }
                #[allow(clippy::unnecessary_cast, reason = "the register is wider than most of them")]
                {
                    value as $integer
                }
            }
        )*};
    }

    loads! {
        load_u8: u8, u32, "movzx {value:e}, byte ptr [{at}]", "ldrb {value:w}, [{at}]";
        load_u16: u16, u32, "movzx {value:e}, word ptr [{at}]", "ldrh {value:w}, [{at}]";
        load_u32: u32, u32, "mov {value:e}, dword ptr [{at}]", "ldr {value:w}, [{at}]";
        load_u64: u64, u64, "mov {value:r}, qword ptr [{at}]", "ldr {value:x}, [{at}]";
    }

    #[inline]
    pub(in crate::memory) unsafe fn store_u8(at: *mut u8, value: u8) {
        // SAFETY: writes the byte and nothing else.
        unsafe {
            #[cfg(target_arch = "x86_64")]
            asm!("mov byte ptr [{at}], {value}", at = in(reg) at, value = in(reg_byte) value,
                options(nostack, preserves_flags));
            #[cfg(target_arch = "aarch64")]
            asm!("strb {value:w}, [{at}]", at = in(reg) at, value = in(reg) u32::from(value),
                options(nostack, preserves_flags));
        }
    }

    #[inline]
    pub(in crate::memory) unsafe fn store_u64(at: *mut u64, value: u64) {
        // SAFETY: writes the integer and nothing else.
        unsafe {
            #[cfg(target_arch = "x86_64")]
            asm!("mov qword ptr [{at}], {value:r}", at = in(reg) at, value = in(reg) value,
                options(nostack, preserves_flags));
            #[cfg(target_arch = "aarch64")]
            asm!("str {value:x}, [{at}]", at = in(reg) at, value = in(reg) value,
                options(nostack, preserves_flags));
        }
    }
}

/// On other processors they are atomics of the language.
#[cfg(not(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri))))]
mod by_processor {
    use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};

    macro_rules! loads {
        ($($name:ident: $integer:ty, $atomic:ty;)*) => {$(
            pub(in crate::memory) unsafe fn $name(at: *const $integer) -> $integer {
                // SAFETY: valid and aligned, guaranteed by the caller; only loads, so read-only memory will
                // do.
                unsafe { &*at.cast::<$atomic>() }.load(Relaxed)
            }
        )*};
    }

    loads! {
        load_u8: u8, AtomicU8;
        load_u16: u16, AtomicU16;
        load_u32: u32, AtomicU32;
        load_u64: u64, AtomicU64;
    }

    pub(in crate::memory) unsafe fn store_u8(at: *mut u8, value: u8) {
        // SAFETY: valid and aligned, guaranteed by the caller.
        unsafe { &*at.cast::<AtomicU8>() }.store(value, Relaxed);
    }

    pub(in crate::memory) unsafe fn store_u64(at: *mut u64, value: u64) {
        // SAFETY: as above.
        unsafe { &*at.cast::<AtomicU64>() }.store(value, Relaxed);
    }
}
