//! Taking raptor off a machine: all that taking it over put there. What modules set up stays: it is
//! the machine's own. Pure.

use crate::provision::layout::Layout;
use crate::provision::service::files_of_every_kind;
use crate::provision::service::removal_of_every_kind;
use crate::ssh::quote::quote;

/// Starts the lines of [`uninstall_script`]'s answer that name what is still there.
const LEFT: &str = "@raptor left ";

/// Entries of the home that provisioning and the agent made.
const OF_THE_HOME: [&str; 3] = ["agent", "steps", "provision.lock"];

/// What an agent's own logins leave, where no person works from that home.
const OF_THE_AGENT: [&str; 2] = ["known_hosts", "known_hosts.lock"];

/// Everything that raptor puts on a machine, whether it is there or not; but for the command, which
/// is ours only when it is a link to our program.
#[must_use]
pub fn traces(layout: &Layout) -> Vec<String> {
    let mut traces = files_of_every_kind(layout);
    let library = format!("{}/", layout.library());
    traces.retain(|path| !path.starts_with(&library));
    traces.extend([layout.library(), log_folder(layout)]);
    traces.extend(OF_THE_HOME.map(|name| format!("{}/{name}", layout.home())));
    traces
}

/// Shell text that ends the agent and removes [`traces`], the command when it is ours, and the home
/// when nothing else is in it. It goes on where something cannot be removed; its answer is read by
/// [`left`].
#[must_use]
pub fn uninstall_script(layout: &Layout) -> String {
    let home = quote(&layout.home());
    let all: Vec<String> = traces(layout).iter().map(|path| quote(path)).collect();
    let known = OF_THE_AGENT.map(|name| format!("{home}/{name}"));
    format!(
        "set -u\n\
         PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n\
         cd /\n\
         {{\n\
         {services}\
         case $(readlink {command}) in {library}/*) rm -f {command} ;; esac\n\
         [ -e {home}/contexts.json ] || rm -f {known}\n\
         rm -rf {all}\n\
         rmdir {home}\n\
         }} >/dev/null 2>&1 </dev/null\n\
         case $(readlink {command} 2>/dev/null) in {library}/*) printf '{LEFT}%s\\n' {command} ;; esac\n\
         for path in {all}; do\n\
         if [ -e \"$path\" ] || [ -L \"$path\" ]; then printf '{LEFT}%s\\n' \"$path\"; fi\n\
         done\n\
         echo '@raptor end'\n",
        services = removal_of_every_kind(layout),
        command = quote(&layout.command()),
        library = quote(&layout.library()),
        known = known.join(" "),
        all = all.join(" "),
    )
}

/// What [`uninstall_script`] could not remove; none when its answer was cut short.
#[must_use]
pub fn left(answer: &[u8]) -> Option<Vec<String>> {
    let text = String::from_utf8_lossy(answer);
    let is_whole = text.lines().any(|line| line == "@raptor end");
    let left = text.lines().filter_map(|line| line.strip_prefix(LEFT)).map(str::to_owned);
    is_whole.then(|| left.collect())
}

fn log_folder(layout: &Layout) -> String {
    let log = layout.log();
    log.rsplit_once('/').map_or(log.clone(), |(folder, _)| folder.to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;
    use std::process::Command;

    use super::*;

    fn write(path: impl AsRef<Path>) {
        fs::create_dir_all(path.as_ref().parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }

    fn run(layout: &Layout) -> Vec<String> {
        let output = Command::new("sh").arg("-c").arg(uninstall_script(layout)).output().unwrap();
        left(&output.stdout).unwrap()
    }

    fn files(root: &Path) -> Vec<String> {
        let output = Command::new("find").arg(root).args(["!", "-type", "d"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    fn installed(root: &Path) -> Layout {
        let layout = Layout::below(root.display().to_string());
        for path in traces(&layout) {
            write(if path.contains(".lock") || path.contains("/etc/") {
                path
            } else {
                format!("{path}/some/file")
            });
        }
        write(format!("{}/boot", layout.library()));
        write(format!("{}/known_hosts.lock", layout.home()));
        fs::create_dir_all(root.join("usr/local/bin")).unwrap();
        symlink(layout.program(), layout.command()).unwrap();
        layout
    }

    #[test]
    fn nothing_of_ours_is_left() {
        let root = tempfile::tempdir().unwrap();
        let layout = installed(root.path());
        write(root.path().join("etc/cron.d/mine"));
        assert_eq!(run(&layout), Vec::<String>::new());
        assert_eq!(files(root.path()), [root.path().join("etc/cron.d/mine").display().to_string()]);
        assert!(!Path::new(&layout.home()).exists());
        assert_eq!(run(&layout), Vec::<String>::new(), "again");
    }

    #[test]
    fn what_a_person_put_there_stays() {
        let root = tempfile::tempdir().unwrap();
        let layout = installed(root.path());
        fs::remove_file(layout.command()).unwrap();
        write(layout.command());
        for name in ["contexts.json", "known_hosts", "recovery/a.key"] {
            write(format!("{}/{name}", layout.home()));
        }
        assert_eq!(run(&layout), Vec::<String>::new());
        assert!(Path::new(&layout.command()).exists());
        for name in ["contexts.json", "known_hosts", "recovery/a.key"] {
            assert!(Path::new(&layout.home()).join(name).exists(), "{name}");
        }
    }

    #[test]
    fn what_could_not_be_removed_is_told() {
        let answer = b"hello\n@raptor left /usr/local/lib/raptor\n@raptor end\n";
        assert_eq!(left(answer).unwrap(), ["/usr/local/lib/raptor"]);
        assert_eq!(left(b"@raptor left /a\n"), None);
    }
}
