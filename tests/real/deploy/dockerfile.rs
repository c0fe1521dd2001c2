//! The Dockerfile, as far as it has to be understood to look at it and to do what it says.

use testing::sources::read;

pub struct Stage {
    pub name: String,
    /// An image, or an earlier stage.
    pub base: String,
    pub lines: Vec<String>,
}

pub struct Copy {
    pub sources: Vec<String>,
    pub to: String,
    /// The stage that the sources come from, if not the build context.
    pub from: Option<String>,
    pub owner: Option<String>,
}

/// The instructions, with lines continued by `\` joined.
pub fn instructions() -> Vec<String> {
    let text = read("deploy/docker/Dockerfile").replace("\\\n", " ");
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}

pub fn stages() -> Vec<Stage> {
    let mut stages: Vec<Stage> = Vec::new();
    for line in instructions() {
        if let Some(from) = line.strip_prefix("FROM ") {
            let (base, name) = from.rsplit_once(" AS ").unwrap_or((from, ""));
            let base = base.rsplit(' ').next().unwrap_or_default().to_owned();
            stages.push(Stage { name: name.to_owned(), base, lines: Vec::new() });
        } else if let Some(stage) = stages.last_mut() {
            stage.lines.push(line);
        }
    }
    stages
}

pub fn copies() -> Vec<Copy> {
    instructions().iter().filter_map(|line| copy(line)).collect()
}

pub fn copy(line: &str) -> Option<Copy> {
    let (flags, mut sources): (Vec<_>, Vec<_>) =
        line.strip_prefix("COPY ")?.split_whitespace().map(str::to_owned).partition(|word| word.starts_with("--"));
    let flag = |name: &str| flags.iter().find_map(|flag| flag.strip_prefix(name).map(str::to_owned));
    let to = sources.pop()?;
    Some(Copy { sources, to, from: flag("--from="), owner: flag("--chown=") })
}
