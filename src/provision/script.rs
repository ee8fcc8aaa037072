//! One shell script for all that is done on a machine in one session, and what it says. Pure.

use std::fmt::Write as _;

use crate::provision::compose::{self, TOOLS};
use crate::provision::input::ModuleInput;
use crate::provision::layout::Layout;
use crate::provision::steps::{Step, module_stamp};
use crate::ssh::quote::quote;

/// Most of a module's files that travel inside the script.
const FILES_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Lines of a failed step that are kept.
const LAST_LINES_MAX: usize = 20;

/// Starts every line that is for us.
const MARK: &str = "@raptor ";

/// A module cannot travel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// Its files are too large.
    #[error("the files of module {module} are larger than 4 MiB")]
    TooLarge {
        /// The module.
        module: String,
    },
    /// One of its files would land outside its folder.
    #[error("module {module} has a file {path:?}, which is no plain relative path")]
    BadPath {
        /// The module.
        module: String,
        /// The path.
        path: String,
    },
}

/// A script as it grows.
#[derive(Debug, Clone)]
pub struct Composer {
    text: String,
}

impl Composer {
    /// The helpers and the places.
    #[must_use]
    pub fn new(layout: &Layout) -> Self {
        let text = format!(
            "root={}\nlibrary={}\nhome={}\ncommand={}\nprogram={}\nlog={}\n{}",
            quote(layout.root()),
            quote(&layout.library()),
            quote(&layout.home()),
            quote(&layout.command()),
            quote(&layout.program()),
            quote(&layout.log()),
            include_str!("prelude.sh")
        );
        Self { text }
    }

    /// Adds shell text; data in it must be quoted.
    pub fn add(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    /// Adds a file that is written only when it differs.
    pub fn write_file(&mut self, path: &str, mode: u32, content: &str) {
        let (path, content) = (quote(path), quote(content));
        self.add(&format!(
            "printf %s {content} >\"$work/text\"; write {path} {mode:o} <\"$work/text\""
        ));
    }

    /// Adds the files and steps of all modules.
    ///
    /// # Errors
    /// [`ScriptError`] when a module's files are too large or badly named.
    pub fn add_steps(
        &mut self,
        modules: &[ModuleInput],
        steps: &[Step],
    ) -> Result<(), ScriptError> {
        for module in
            modules.iter().filter(|module| steps.iter().any(|step| step.module == module.name))
        {
            self.add_files(module)?;
        }
        if !steps.is_empty() {
            self.add(&format!("printf %s {} >\"$RAPTOR_TOOLS\"", quote(TOOLS)));
        }
        let mut last = None;
        for (index, step) in steps.iter().enumerate() {
            let module = modules.iter().find(|module| module.name == step.module);
            if last != Some(&step.module) {
                self.end_module(modules, last, steps);
                self.begin_module(&step.module, module, steps);
                last = Some(&step.module);
            }
            if let Some(check) = &step.check {
                self.add(&format!("printf %s {} >\"$work/{index}.check\"", quote(check)));
            }
            self.add(&format!("printf %s {} >\"$work/{index}.apply\"", quote(&step.apply)));
            let (title, seconds) = (quote(&step.title()), step.timeout.as_secs().max(1));
            self.add(&format!("step {index} {title} {} {seconds}", step.stamp));
        }
        self.end_module(modules, last, steps);
        Ok(())
    }

    /// The module's folder, and its check: where it holds, its steps are passed over.
    fn begin_module(&mut self, name: &str, module: Option<&ModuleInput>, steps: &[Step]) {
        let folder = format!("\"$work\"/modules/{}", quote(name));
        self.add(&format!("RAPTOR_MODULE={folder}; export RAPTOR_MODULE; mkdir -p {folder}"));
        let Some((module, text)) = module.and_then(|it| Some((it, it.check.as_ref()?))) else {
            return;
        };
        let text = compose::script(module, &format!(". \"$RAPTOR_TOOLS\"\n{text}"));
        self.add(&format!("printf %s {} >\"$work/module\"", quote(&text)));
        self.add(&format!("module {} {}", quote(name), module_stamp(module, steps)));
    }

    fn end_module(&mut self, modules: &[ModuleInput], name: Option<&String>, steps: &[Step]) {
        let module = modules.iter().find(|module| Some(&module.name) == name);
        if let Some(module) = module.filter(|module| module.check.is_some()) {
            let stamp = module_stamp(module, steps);
            self.add(&format!("module_done {} {stamp}", quote(&module.name)));
        }
    }

    fn add_files(&mut self, module: &ModuleInput) -> Result<(), ScriptError> {
        let size: usize = module.files.iter().map(|(_, bytes)| bytes.len()).sum();
        if size > FILES_BYTES_MAX {
            return Err(ScriptError::TooLarge { module: module.name.clone() });
        }
        for (path, bytes) in &module.files {
            let plain = !path.is_empty()
                && !path.contains('\0')
                && path.split('/').all(|part| !matches!(part, "" | "." | ".."));
            if !plain {
                let (module, path) = (module.name.clone(), path.clone());
                return Err(ScriptError::BadPath { module, path });
            }
            let target = format!("\"$work\"/modules/{}/{}", quote(&module.name), quote(path));
            let encoded = data_encoding::BASE64.encode(bytes);
            self.add(&format!(
                "mkdir -p \"$(dirname {target})\" && printf %s {} | base64 -d >{target} || fail 73",
                quote(&encoded)
            ));
        }
        Ok(())
    }

    /// The whole text; its last line says that nothing is missing.
    #[must_use]
    pub fn finish(mut self) -> String {
        self.add("say end");
        self.text
    }
}

/// What a script said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// What was begun last.
    pub current: String,
    /// Steps (by index) whose `apply` was begun.
    pub applied: Vec<usize>,
    /// Values it told, by key: `init`, `health`.
    pub values: Vec<(String, String)>,
    /// The status of what failed.
    pub failed: Option<i32>,
    /// The last lines of what failed.
    pub last_lines: Vec<String>,
    /// Another run holds the machine.
    pub busy: bool,
    /// It came to its end.
    pub ended: bool,
}

impl Report {
    /// A value that was told.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&str> {
        self.values.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

/// The title of the step that a line begins: for a progress display.
#[must_use]
pub fn begun(line: &str) -> Option<&str> {
    line.strip_prefix(MARK)?.strip_prefix("begin ")
}

/// Reads what a script said; anything that is not for us is passed over.
#[must_use]
pub fn parse(stdout: &[u8]) -> Report {
    let mut report = Report::default();
    for line in String::from_utf8_lossy(stdout).lines() {
        let Some(line) = line.strip_prefix(MARK) else { continue };
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "begin" => rest.clone_into(&mut report.current),
            "applying" => report.applied.extend(rest.parse::<usize>().ok()),
            "fail" => report.failed = Some(rest.parse().unwrap_or(1)),
            "|" => report.last_lines.push(rest.to_owned()),
            "busy" => report.busy = true,
            "end" => report.ended = true,
            "value" => {
                if let Some((key, value)) = rest.split_once(' ') {
                    report.values.push((key.to_owned(), value.to_owned()));
                }
            }
            _ => {}
        }
    }
    let surplus = report.last_lines.len().saturating_sub(LAST_LINES_MAX);
    report.last_lines.drain(..surplus);
    report
}

/// A script of undo texts: each is tried, and says whether it worked.
#[must_use]
pub fn undo_script(layout: &Layout, actions: &[(String, String)]) -> String {
    let mut text = format!(
        "root={}; library={}; home={}; command={}; program={}\nPATH=$PATH:/usr/sbin:/sbin\n\
         export RAPTOR_ROOT=\"$root\" RAPTOR_STATE=\"$home/steps\"\n\
         RAPTOR_TOOLS=$(mktemp) && export RAPTOR_TOOLS && trap 'rm -f \"$RAPTOR_TOOLS\"' EXIT\n\
         printf %s {} >\"$RAPTOR_TOOLS\"\n",
        quote(layout.root()),
        quote(&layout.library()),
        quote(&layout.home()),
        quote(&layout.command()),
        quote(&layout.program()),
        quote(TOOLS),
    );
    for (index, (_, action)) in actions.iter().enumerate() {
        let action = quote(action);
        // Writing to a string cannot fail.
        let _written = writeln!(
            text,
            "export library home command program\n\
             sh -eu -c {action} >/dev/null 2>&1 </dev/null && printf '@raptor applying {index}\\n'"
        );
    }
    text.push_str("printf '@raptor end\\n'\n");
    text
}
