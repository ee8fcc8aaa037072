//! The cluster's SSH key on a machine that was made: its agent keeps the one line of
//! `authorized_keys` that lets the members in.

use std::process::Stdio;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::agent::process;
use crate::agent::process::EVENT_QUEUE;
use crate::agent::process::ProcessEvent;

/// How long the script may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Writes line `$2` into the file of the login `$1`, in the place of the line that ends as it does.
/// The user's other lines stay as they are; the file is replaced whole.
const SCRIPT: &str = r#"
set -eu
umask 077
home=
while IFS=: read -r name _ _ _ _ folder _; do
  if [ "$name" = "$1" ]; then home=$folder; break; fi
done </etc/passwd
[ -n "$home" ] && [ -d "$home" ] || { echo "no home of $1"; exit 1; }
owner=$(stat -c %u:%g "$home")
folder=$home/.ssh file=$home/.ssh/authorized_keys mark=${2##* }
[ -d "$folder" ] || { mkdir "$folder"; chown "$owner" "$folder"; }
if [ -f "$file" ] && grep -qxF -e "$2" "$file" && [ "$(grep -c -e " $mark\$" "$file")" = 1 ]; then
  exit 0
fi
new=$file.raptor-$$
trap 'rm -f "$new"' EXIT
{ if [ -f "$file" ]; then grep -v -e " $mark\$" "$file" || :; fi; printf '%s\n' "$2"; } >"$new"
chown "$owner" "$new"
mv "$new" "$file"
"#;

/// Lets the key of `line` log in as `user`, and no earlier one that ends with the same word.
///
/// # Errors
/// Why that cannot be.
pub async fn keep(user: &str, line: &str) -> Result<(), String> {
    let argv = ["sh", "-c", SCRIPT, "sh", user, line].map(str::to_owned);
    let (sender, mut events) = mpsc::channel(EVENT_QUEUE);
    let mut words = Vec::new();
    let mut ended = Err("it never ran".to_owned());
    let listen = async {
        while let Some(event) = events.recv().await {
            match event {
                ProcessEvent::Output(_, bytes) if words.len() < 1024 => words.extend(bytes),
                ProcessEvent::Started | ProcessEvent::Output(..) => {}
                ProcessEvent::Exited(status) => ended = Ok(status),
                ProcessEvent::Failed(why) => ended = Err(why),
            }
        }
    };
    tokio::join!(process::run_with(&argv, Stdio::null(), TIMEOUT, sender), listen);
    match ended? {
        0 => Ok(()),
        status => {
            let words = String::from_utf8_lossy(&words);
            Err(format!("exit status {status}: {}", words.trim()))
        }
    }
}
