//! Facts of absence, as listed in ARCHITECTURE.md: what the sources use nowhere, or in one place only.
//!
//! Each rule is also tried on code that breaks it, to show that it works.

pub mod facts;

use std::collections::BTreeSet;
use std::sync::OnceLock;

use facts::Facts;
use syn::{Expr, ImplItem, Item, Stmt};
use testing::sources::shipped;

/// The violations of a rule, one line each.
type Rule = fn(&[&Facts]) -> Vec<String>;

fn facts() -> &'static [Facts] {
    static FACTS: OnceLock<Vec<Facts>> = OnceLock::new();
    FACTS.get_or_init(|| shipped().iter().map(|file| Facts::of(&file.path, &file.text)).collect())
}

/// Fails if the sources break the rule, or if `breaking` code, as a file of this path, is not detected.
fn holds(rule: Rule, path: &str, planted: &[&str]) {
    let all: Vec<&Facts> = facts().iter().collect();
    let found = rule(&all);
    assert!(found.is_empty(), "{found:#?}");
    for code in planted {
        let planted = Facts::of(path, code);
        let others = all.iter().copied().filter(|facts| facts.path != path);
        assert!(!rule(&others.chain([&planted]).collect::<Vec<_>>()).is_empty(), "nothing is found in: {code}");
    }
}

/// A file that does not exist.
const NEW: &str = "src/record/planted.rs";

/// The files that use one of `names`, except `allowed` ones.
fn others_that_use(files: &[&Facts], names: &[&str], allowed: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| !allowed.contains(&file.path.as_str())) {
        found.extend(names.iter().filter(|name| file.uses(name)).map(|name| format!("{} uses {name}", file.path)));
    }
    let unused = allowed
        .iter()
        .filter(|path| !files.iter().any(|file| file.path == **path && names.iter().any(|name| file.uses(name))));
    found.extend(unused.map(|path| format!("{path} is allowed {names:?}, and does not use it")));
    found
}

/// Where the host calls us, and where we call it.
fn at_the_boundary(path: &str) -> bool {
    ["src/abi/", "src/host/"].iter().any(|folder| path.starts_with(folder))
}

fn paths_of(files: &[&Facts], has: impl Fn(&Facts) -> bool) -> Vec<String> {
    files.iter().filter(|file| has(file)).map(|file| file.path.clone()).collect()
}

#[test]
fn unsafe_code_is_in_the_c_boundary_alone() {
    let rule: Rule = |files| {
        let found = paths_of(files, |file| file.has_unsafe);
        found.into_iter().filter(|path| !at_the_boundary(path) && path != "src/system.rs").collect()
    };
    holds(
        rule,
        NEW,
        &[
            "fn f() { unsafe { g() } }",
            "unsafe fn f() {}",
            "unsafe impl Send for S {}",
            "unsafe trait T {}",
            "fn f() { let x = vec![unsafe { g() }]; }",
            "#[allow(unsafe_code)] fn f() {}",
            "#[unsafe(no_mangle)] fn f() {}",
            "unsafe extern \"C\" { fn f(); }",
        ],
    );
}

#[test]
fn functions_are_exported_from_one_file() {
    const NAMES: [&str; 3] = ["no_mangle", "export_name", "link_section"];
    let rule: Rule = |files| {
        let exports = |file: &Facts| NAMES.iter().any(|name| file.attributes.contains(*name));
        paths_of(files, exports).into_iter().filter(|path| path != "src/abi/exports.rs").collect()
    };
    holds(
        rule,
        "src/abi/planted.rs",
        &["#[unsafe(no_mangle)] fn f() {}", "#[cfg_attr(all(), unsafe(export_name = \"f\"))] fn f() {}"],
    );
}

/// Catches a new function without the guard: a panic in it would abort Fluent Bit.
#[test]
fn every_exported_function_is_one_guard_and_nothing_else() {
    let exports = testing::sources::read("src/abi/exports.rs");
    assert_eq!(unguarded(&exports), (10, vec![]));
    for planted in [
        "#[unsafe(no_mangle)] pub unsafe extern \"C\" fn FLBPluginF() { f() }",
        "#[unsafe(no_mangle)] pub unsafe extern \"C\" fn FLBPluginF() { f(); guard((), || ()) }",
        "#[unsafe(no_mangle)] pub unsafe extern \"C\" fn FLBPluginF() { guard(f(), || ()) }",
        "#[unsafe(no_mangle)] pub unsafe extern \"C\" fn FLBPluginF() -> i32 { guard(0, || 0) + f() }",
        "pub unsafe extern \"C\" fn FLBPluginF() { guard((), || ()) }",
        "#[unsafe(no_mangle)] pub unsafe extern \"C\" fn f() { guard((), || ()) }",
    ] {
        assert_eq!(unguarded(planted).1.len(), 1, "{planted}");
    }
}

/// The number of C functions, and the names of those not exported under the host's names as one guard.
fn unguarded(text: &str) -> (usize, Vec<String>) {
    let (mut count, mut found) = (0, Vec::new());
    for item in syn::parse_file(text).unwrap().items {
        let Item::Fn(function) = item else { continue };
        if function.sig.abi.is_none() {
            continue;
        }
        count += 1;
        let is_exported = function.attrs.iter().any(|attribute| attribute.path().is_ident("unsafe"));
        let name = function.sig.ident.to_string();
        if !is_exported || !name.starts_with("FLBPlugin") || !is_one_guard(&function.block) {
            found.push(name);
        }
    }
    (count, found)
}

/// Whether a body is `guard(ANSWER, || …)`, whose first argument runs nothing.
fn is_one_guard(body: &syn::Block) -> bool {
    let [Stmt::Expr(Expr::Call(call), None)] = body.stmts.as_slice() else { return false };
    let is_guard = matches!(&*call.func, Expr::Path(path) if path.path.is_ident("guard"));
    let mut arguments = call.args.iter();
    let is_constant = |argument: Option<&Expr>| match argument {
        Some(Expr::Path(_) | Expr::Lit(_)) => true,
        Some(Expr::Unary(negative)) => matches!(*negative.expr, Expr::Lit(_)),
        Some(Expr::Tuple(tuple)) => tuple.elems.is_empty(),
        _ => false,
    };
    is_guard
        && is_constant(arguments.next())
        && matches!(arguments.next(), Some(Expr::Closure(_)))
        && arguments.next().is_none()
}

const FORMATS: [&str; 4] = ["format", "write", "writeln", "format_args"];

#[test]
fn only_the_panic_hook_formats_on_the_callers_stack() {
    let rule: Rule = |files| {
        let formats = |file: &Facts| file.runs_macro(&FORMATS) && at_the_boundary(&file.path);
        let mut found = paths_of(files, formats);
        found.retain(|path| path != "src/host/guard.rs");
        let hook = files.iter().find(|file| file.path == "src/host/guard.rs");
        let runs = hook.map_or(0, |hook| hook.macros.iter().filter(|run| FORMATS.contains(&run.as_str())).count());
        if runs != 1 {
            found.push(format!("the panic hook formats {runs} times"));
        }
        found
    };
    holds(
        rule,
        "src/host/planted.rs",
        &["fn f() { let _ = format!(\"x\"); }", "fn f() { vec![std::format!(\"x\")]; }"],
    );
    let flush = flush_of_the_plugin();
    assert!(!flush.runs_macro(&FORMATS) && !flush.methods.contains("to_string") && !flush.is_async);
}

/// What `Plugin::flush` uses, which runs on the stack of the host's coroutine.
fn flush_of_the_plugin() -> Facts {
    for file in shipped().iter().filter(|file| file.path.starts_with("src/plugin/")) {
        for item in syn::parse_file(&file.text).unwrap().items {
            let Item::Impl(item) = item else { continue };
            let is_plugin = matches!(&*item.self_ty, syn::Type::Path(path) if path.path.is_ident("Plugin"));
            for member in item.items.iter().filter(|_| is_plugin) {
                if let ImplItem::Fn(function) = member
                    && function.sig.ident == "flush"
                {
                    let items = vec![Item::Impl(syn::ItemImpl { items: vec![member.clone()], ..item.clone() })];
                    return Facts::of_file(&file.path, &syn::File { items, ..syn::parse_str("").unwrap() });
                }
            }
        }
    }
    panic!("there is no Plugin::flush");
}

#[test]
fn threads_are_started_for_deliveries_for_compression_and_for_calls_that_block_alone() {
    const STARTING: [&str; 4] =
        ["src/aws/blocking.rs", "src/dead_letters/writer.rs", "src/deliver/compression.rs", "src/plugin/thread.rs"];
    let rule: Rule = |files| {
        let names = ["std::thread::Builder", "std::thread::spawn", "std::thread::scope"];
        let mut found = others_that_use(files, &names, &STARTING);
        for file in files.iter().filter(|file| STARTING.contains(&file.path.as_str())) {
            let count = names.iter().map(|name| file.count(name)).sum::<usize>();
            if count != 1 {
                found.push(format!("{} starts threads in {count} places", file.path));
            }
        }
        // tokio's own, which panics if no thread is available, and what starts some of those.
        let of_tokio = ["spawn_blocking", "new_multi_thread", "lookup_host", "GaiResolver"];
        found.extend(paths_of(files, |file| {
            of_tokio.iter().any(|name| file.names(name) || file.methods.contains(*name))
                || ["tokio::fs", "tokio::process"].iter().any(|name| file.uses(name))
                || file.calls.iter().any(|call| call.ends_with("::HttpConnector::new"))
        }));
        found
    };
    holds(
        rule,
        NEW,
        &[
            "use std::thread; fn f() { thread::spawn(|| ()); }",
            "use std::thread::{self as t}; fn f() { t::Builder::new(); }",
            "use std::*; fn f() { thread::scope(|_| ()); }",
            "use std as s; use s::thread as t; fn f() { t::spawn(|| ()); }",
            "fn f() { ::std::thread::spawn(|| ()); }",
            "fn f(runtime: R) { runtime.spawn_blocking(|| ()); }",
            "use tokio::fs as files;",
        ],
    );
}

#[test]
fn the_time_of_day_is_read_in_one_place() {
    let rule: Rule = |files| {
        let names = ["std::time::SystemTime::now", "chrono::Utc::now", "chrono::Local::now"];
        others_that_use(files, &names, &["src/clock.rs"])
    };
    holds(
        rule,
        NEW,
        &[
            "use std::time::SystemTime as Time; fn f() { Time::now(); }",
            "use std::time; fn f() { let now = time::SystemTime::now; }",
            "fn f() { chrono::Utc::now(); }",
            "use chrono::*; fn f() { vec![Local::now()]; }",
        ],
    );
}

/// Except for what AWS's library and rustls-native-certs read.
#[test]
fn sockets_are_not_touched_and_the_environment_files_and_processes_in_few_places() {
    let environment: Rule = |files| {
        let mut found = others_that_use(files, &["std::env"], &["src/environment.rs"]);
        found.extend(paths_of(files, |file| file.runs_macro(&["option_env"])));
        found
    };
    holds(
        environment,
        NEW,
        &[
            "use std::env as e;",
            "use std::{env::var, io};",
            "fn f() { std::env::var_os(\"X\"); }",
            "use std::*; fn f() { vec![env::args()]; }",
            "const X: Option<&str> = option_env!(\"X\");",
        ],
    );
    let files: Rule = |files| {
        let allowed = [
            "src/aws/connect/resolver.rs",
            "src/aws/connect/tls.rs",
            "src/aws/files.rs",
            "src/dead_letters/folder/mod.rs",
            "src/ledger/journal/mod.rs",
        ];
        let mut found = others_that_use(files, &["std::fs"], &allowed);
        // They would read until the end of a file, if it has one.
        let endless = ["pem_file_iter", "from_pem_file"];
        found.extend(paths_of(files, |file| {
            endless.iter().any(|name| file.names(name) || file.methods.contains(*name))
        }));
        found
    };
    holds(
        files,
        NEW,
        &[
            "use std::fs as f; fn g() { f::read(\"x\"); }",
            "use std::fs::read as look;",
            "use std::{io, fs::{self as f, File}};",
            "use std as s; fn f() { s::fs::read(\"x\"); }",
            "fn f() { C::from_pem_file(\"x\"); }",
        ],
    );
    let sockets: Rule = |files| {
        let is_socket = |used: &String| {
            let socket = |name: &str| ["Tcp", "Udp", "Unix"].iter().any(|kind| name.starts_with(kind));
            let is_net = ["std::net", "std::os::unix::net", "tokio::net"].iter().any(|net| facts::is_within(used, net));
            is_net && used.split("::").any(socket)
        };
        paths_of(files, |file| file.used.iter().any(is_socket))
    };
    holds(
        sockets,
        NEW,
        &[
            "use std::net::TcpStream as S;",
            "use tokio::net; fn f() { net::UdpSocket::bind(); }",
            "use std::os::unix::net::UnixStream;",
        ],
    );
    let processes: Rule = |files| {
        let allowed = ["src/aws/credentials/process.rs", "src/system.rs"];
        let names = ["std::process::Command", "std::process::Child"];
        let mut found = others_that_use(files, &names, &allowed);
        found.extend(others_that_use(files, &["std::process::exit", "std::process::abort", "libc::fork"], &[]));
        found
    };
    holds(
        processes,
        NEW,
        &["use std::process::Command as C;", "use std::process::*; fn f() { exit(1) }", "fn f() { libc::fork(); }"],
    );
}

/// A module that re-exports another's items would hide it from these rules.
#[test]
fn nothing_of_another_crate_is_handed_on() {
    let rule: Rule = |files| {
        let mut found = Vec::new();
        for file in files {
            let foreign = ["std", "tokio", "libc", "hyper", "chrono"];
            let handed_on =
                file.handed_on.iter().filter(|path| foreign.iter().any(|name| facts::is_within(path, name)));
            let allowed = |path: &&String| file.path != "src/host/sync.rs" || !path.starts_with("std::sync::");
            found.extend(handed_on.filter(allowed).map(|path| format!("{}: {path}", file.path)));
        }
        found
    };
    holds(rule, NEW, &["pub use std::fs as files;", "pub(crate) use tokio::*;"]);
}

#[test]
fn nothing_is_printed_where_the_host_has_a_log() {
    let rule: Rule = |files| {
        let mut found = paths_of(files, |file| file.runs_macro(&["println", "print", "eprintln", "eprint", "dbg"]));
        found.extend(others_that_use(files, &["std::io::stdout", "std::io::stderr"], &["src/host/log.rs"]));
        found.extend(paths_of(files, |file| file.names("STDERR_FILENO") || file.names("STDOUT_FILENO")));
        found
    };
    holds(
        rule,
        NEW,
        &[
            "fn f() { println!(\"x\"); }",
            "fn f() { std::dbg!(1); }",
            "fn f() { vec![eprint!(\"x\")]; }",
            "use std::io; fn f() { io::stderr(); }",
            "use std::io::stdout as out;",
        ],
    );
    // For a host without a log.
    let log = facts().iter().find(|file| file.path == "src/host/log.rs").unwrap();
    assert_eq!(log.count("std::io::stderr"), 1);
}

#[test]
fn statics_that_change_are_at_the_c_boundary_alone() {
    let rule: Rule = |files| {
        let lazily = ["LazyLock", "OnceLock", "OnceCell", "LazyCell"];
        let has_statics = |file: &Facts| {
            file.has_statics || file.runs_macro(&["thread_local"]) || lazily.iter().any(|name| file.names(name))
        };
        let mut found = paths_of(files, has_statics);
        found.retain(|path| !at_the_boundary(path) && path != "src/config/options.rs");
        // Its table never changes.
        let options = files.iter().filter(|file| file.path == "src/config/options.rs");
        let changes = |name: &&&str| options.clone().any(|file| file.used.iter().any(|used| used.contains(*name)));
        found.extend(
            ["Mutex", "Cell", "Atomic", "RwLock"].iter().filter(changes).map(|name| format!("options: {name}")),
        );
        found
    };
    holds(
        rule,
        NEW,
        &[
            "static X: u8 = 0;",
            "fn f() { static X: u8 = 0; }",
            "thread_local! { static X: u8 = 0 }",
            "use std::sync::OnceLock as Once;",
        ],
    );
    holds(rule, "src/config/options.rs", &["use std::sync::atomic::AtomicU8;"]);
}

/// Where records are read, written, packed and judged. A name ends where a file or a folder does.
const PURE: [&str; 14] = [
    "chunk",
    "msgpack",
    "record/",
    "compress/",
    "pack",
    "backoff",
    "kinesis/kpl/",
    "kinesis/random_key",
    "kinesis/reply/",
    "kinesis/request/",
    "kinesis/shards",
    "kinesis/verdict",
    "outcome",
    "error",
];

#[test]
fn reading_writing_packing_and_judging_is_pure() {
    let rule: Rule = |files| {
        let impure = |file: &Facts| {
            let is_pure = PURE.iter().any(|name| file.path.starts_with(&format!("src/{name}")));
            let foreign = ["tokio", "hyper", "hyper_util", "std::thread", "std::sync", "std::io::Read", "libc"];
            let uses = foreign.iter().any(|name| file.uses(name));
            is_pure && (file.is_async || uses || file.names("sleep") || file.methods.contains("sleep"))
        };
        paths_of(files, impure)
    };
    holds(
        rule,
        NEW,
        &[
            "async fn f() {}",
            "fn f() { g(async {}); }",
            "fn f() { vec![async move {}]; }",
            "use std::thread as t;",
            "use std::{sync::Mutex as M};",
            "use tokio as t;",
        ],
    );
    let names: BTreeSet<&str> = facts().iter().map(|file| file.path.as_str()).collect();
    for name in PURE {
        assert!(names.iter().any(|path| path.starts_with(&format!("src/{name}"))), "there is no src/{name}");
    }
}

#[test]
fn a_chunk_is_read_without_an_allocation() {
    let rule: Rule = |files| {
        let types = ["Vec", "Box", "Rc", "Arc", "VecDeque", "HashMap", "BTreeMap", "Cow"];
        let methods = ["to_owned", "to_vec", "to_string", "collect", "into_owned"];
        let allocates = |file: &Facts| {
            let reads = ["src/chunk/mod.rs", "src/msgpack.rs"].contains(&file.path.as_str());
            // A token is a `Token::String` of borrowed bytes.
            let is_string =
                |used: &String| used == "String" || used.starts_with("String::") || used.starts_with("std::string");
            let uses = types.iter().any(|name| file.names(name))
                || file.used.iter().any(is_string)
                || file.runs_macro(&["vec", "format"]);
            reads && (uses || methods.iter().any(|name| file.methods.contains(*name) || file.names(name)))
        };
        paths_of(files, allocates)
    };
    holds(
        rule,
        "src/msgpack.rs",
        &[
            "fn f() -> Vec<u8> { g() }",
            "use std::rc::Rc as R;",
            "fn f() { String::new(); }",
            "fn f() -> std::string::String { g() }",
            "fn f() { [0].to_vec(); }",
            "fn f() { ToOwned::to_owned(\"x\"); }",
            "fn f() { g(vec![1]); }",
        ],
    );
}
