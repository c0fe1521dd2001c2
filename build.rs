//! How the plugin and the programs that play its host are linked. Nothing is written to the source tree.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,kinesis.so");
    // `dlclose` leaves the library mapped. Fluent Bit 1.9 with two outputs calls into the plugin after unloading it,
    // and the thread on which the host initialized it may run destructors of thread-local data when it ends.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    // Programs that play the host export flb_log_print and its kind, as Fluent Bit does.
    println!("cargo:rustc-link-arg-examples=-rdynamic");
    println!("cargo:rustc-link-arg-tests=-rdynamic");
}
