//! When a program calls some of its functions, and how many system calls it makes, as the kernel sees it (tracefs):
//! exact to a microsecond, and the program runs as it is.

use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use goblin::elf::Elf;
use goblin::elf::program_header::PT_LOAD;

const TRACING: &str = "/sys/kernel/tracing";

/// For each processor, in KiB.
const BUFFER_KIB: &str = "16384";

/// Probes at functions of a program, until this is dropped.
pub struct Probes {
    group: String,
    names: Vec<&'static str>,
    /// A buffer of our own, which others' tracing does not use.
    instance: PathBuf,
    marks: Option<File>,
}

/// What happened, in the order of time.
pub struct Event {
    pub seconds: f64,
    pub thread: u32,
    pub kind: Kind,
}

pub enum Kind {
    /// What was given to [`Probes::mark`].
    Mark(String),
    /// A call of a function, by its probe's name.
    Call(String),
    SystemCall,
}

impl Probes {
    /// Prepares a probe at each of a program's exported functions, given as its name here and in the program.
    pub fn new(program: &Path, functions: &[(&'static str, &str)]) -> Result<Probes, Box<dyn Error>> {
        let group = format!("measure_{}", std::process::id());
        let instance = Path::new(TRACING).join("instances").join(&group);
        fs::create_dir(&instance).map_err(|error| {
            format!("{TRACING}: {error}: this needs root, and `mount -t tracefs tracefs {TRACING}`")
        })?;
        let mut probes = Probes { group, names: Vec::new(), instance, marks: None };
        probes.set("trace_clock", "mono")?;
        probes.set("buffer_size_kb", BUFFER_KIB)?;
        // Threads that are started meanwhile are traced too.
        probes.set("options/event-fork", "1")?;
        let bytes = fs::read(program)?;
        let elf = Elf::parse(&bytes)?;
        for &(name, function) in functions {
            let offset = offset(&elf, function).ok_or_else(|| format!("{}: no {function}", program.display()))?;
            let at = format!("{}:{offset:#x}", program.canonicalize()?.display());
            define(&format!("p:{}/{name} {at}\n", probes.group))?;
            probes.names.push(name);
        }
        probes.marks = Some(OpenOptions::new().write(true).open(probes.instance.join("trace_marker"))?);
        Ok(probes)
    }

    /// Forgets everything and traces these threads from now on, their system calls only if wanted.
    pub fn start(&self, threads: &[u32], system_calls: bool) -> io::Result<()> {
        let threads = threads.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
        File::create(self.instance.join("trace"))?;
        self.set("set_event_pid", &threads)?;
        self.set(&format!("events/{}/enable", self.group), "1")?;
        self.set("events/raw_syscalls/sys_enter/enable", if system_calls { "1" } else { "0" })
    }

    /// Notes that something begins.
    pub fn mark(&mut self, text: &str) -> io::Result<()> {
        self.marks.as_mut().map_or(Ok(()), |marks| marks.write_all(text.as_bytes()))
    }

    /// Stops tracing. Returns what happened since the start.
    pub fn stop(&self) -> io::Result<Vec<Event>> {
        self.set("events/enable", "0")?;
        let text = fs::read_to_string(self.instance.join("trace"))?;
        Ok(text.lines().filter(|line| !line.starts_with('#')).filter_map(event).collect())
    }

    fn set(&self, file: &str, value: &str) -> io::Result<()> {
        fs::write(self.instance.join(file), value)
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        // The kernel removes nothing that is in use. What cannot be removed costs nothing while it is off.
        self.marks.take();
        self.set("events/enable", "0").ok();
        fs::remove_dir(&self.instance).ok();
        for name in &self.names {
            define(&format!("-:{}/{name}\n", self.group)).ok();
        }
    }
}

/// Adds or removes a probe. Opening the file otherwise than to append would remove all of the machine's.
fn define(probe: &str) -> io::Result<()> {
    OpenOptions::new().append(true).open(Path::new(TRACING).join("uprobe_events"))?.write_all(probe.as_bytes())
}

/// Where in its file an exported function begins.
fn offset(elf: &Elf<'_>, function: &str) -> Option<u64> {
    let symbol = elf.dynsyms.iter().find(|symbol| elf.dynstrtab.get_at(symbol.st_name) == Some(function))?;
    let mut segments = elf.program_headers.iter().filter(|segment| segment.p_type == PT_LOAD);
    let segment = segments.find(|segment| segment.vm_range().contains(&(symbol.st_value as usize)))?;
    Some(symbol.st_value - segment.p_vaddr + segment.p_offset)
}

/// Reads `name-THREAD [PROCESSOR] FLAGS SECONDS: EVENT: DETAILS`.
fn event(line: &str) -> Option<Event> {
    let (thread, rest) = line.split_once(" [")?;
    let (_, rest) = rest.split_once("] ")?;
    let (_, rest) = rest.split_once(' ')?;
    let (seconds, rest) = rest.split_once(": ")?;
    let (name, details) = rest.split_once(':')?;
    let kind = match name {
        "tracing_mark_write" => Kind::Mark(details.trim().to_owned()),
        "sys_enter" => Kind::SystemCall,
        name => Kind::Call(name.to_owned()),
    };
    let thread = thread.rsplit('-').next()?.trim().parse().ok()?;
    Some(Event { seconds: seconds.trim().parse().ok()?, thread, kind })
}
