//! On arm64 a call preserves d8 to d15, the lower halves of v8 to v15; a switch of Fluent Bit's coroutines does not.

use std::ffi::c_int;

/// Leaves them as a switch does: with what another coroutine had there.
pub fn spoil() {
    #[cfg(target_arch = "aarch64")]
    {
        #[unsafe(naked)]
        extern "C" fn spoil() {
            std::arch::naked_asm!(
                "movi d8, #0",
                "movi d9, #0",
                "movi d10, #0",
                "movi d11, #0",
                "movi d12, #0",
                "movi d13, #0",
                "movi d14, #0",
                "movi d15, #0",
                "ret",
            )
        }
        spoil();
    }
}

/// Calls the plugin as somebody does who has values there, and checks that they are there afterwards.
pub fn preserving(mut call: impl FnMut() -> c_int) -> c_int {
    #[cfg(not(target_arch = "aarch64"))]
    return call();
    #[cfg(target_arch = "aarch64")]
    {
        unsafe extern "C" fn run(call: &mut &mut dyn FnMut() -> c_int) -> c_int {
            call()
        }
        let mut call: &mut dyn FnMut() -> c_int = &mut call;
        let mut answer = &raw mut call as usize;
        let mut kept = [8_u64, 9, 10, 11, 12, 13, 14, 15];
        let [v8, v9, v10, v11, v12, v13, v14, v15] = &mut kept;
        // SAFETY: a call with one argument, which lives until it returns.
        unsafe {
            std::arch::asm!(
                "blr {run}",
                run = in(reg) run as unsafe extern "C" fn(_) -> _,
                inout("x0") answer,
                inout("v8") *v8, inout("v9") *v9, inout("v10") *v10, inout("v11") *v11,
                inout("v12") *v12, inout("v13") *v13, inout("v14") *v14, inout("v15") *v15,
                clobber_abi("C"),
            );
        }
        assert_eq!(kept, [8, 9, 10, 11, 12, 13, 14, 15], "d8 to d15 after a call of the plugin");
        answer as c_int
    }
}
