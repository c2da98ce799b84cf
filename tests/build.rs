//! Has the guest's own TLS library seen from outside, as those are that programs have linked into them.

fn main() {
    for function in ["SSL_do_handshake", "SSL_write", "SSL_read", "SSL_free"] {
        println!("cargo::rustc-link-arg-bin=guest=-Wl,--export-dynamic-symbol={function}");
    }
    println!("cargo::rerun-if-changed=build.rs");
}
