//! Signatures of AWS requests, version 4. Pure: the time is an argument.
//!
//! "Signature Version 4 signing process", AWS Identity and Access Management User Guide.

use data_encoding::HEXLOWER;
use ring::digest;
use ring::hmac;

use crate::compute::cloud::secret::Secret;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Who signs.
#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    pub(crate) access_key_id: String,
    pub(crate) secret: Secret,
    /// Of credentials that pass.
    pub(crate) session_token: Option<Secret>,
}

/// What is signed: all of it, the body included.
pub(crate) struct Signed<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    /// Encoded, and sorted by key.
    pub(crate) query: &'a str,
    /// Names in lower case, sorted; `host` and `x-amz-date` among them.
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: &'a [u8],
    pub(crate) region: &'a str,
    pub(crate) service: &'a str,
    /// `YYYYMMDDTHHMMSSZ`.
    pub(crate) date: &'a str,
}

/// The `Authorization` header.
pub(crate) fn authorization(credentials: &Credentials, signed: &Signed<'_>) -> String {
    let names: Vec<&str> = signed.headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let day = signed.date.get(..8).unwrap_or_default();
    let scope = format!("{day}/{}/{}/aws4_request", signed.region, signed.service);
    let to_sign = format!(
        "{ALGORITHM}\n{}\n{scope}\n{}",
        signed.date,
        hash(canonical(signed, &names).as_bytes())
    );
    let seed = zeroize::Zeroizing::new(format!("AWS4{}", credentials.secret.reveal()));
    let parts = [day, signed.region, signed.service, "aws4_request", &to_sign];
    let mut key = hmac::Key::new(hmac::HMAC_SHA256, seed.as_bytes());
    let mut signature = String::new();
    for part in parts {
        let tag = hmac::sign(&key, part.as_bytes());
        signature = HEXLOWER.encode(tag.as_ref());
        key = hmac::Key::new(hmac::HMAC_SHA256, tag.as_ref());
    }
    let id = &credentials.access_key_id;
    format!("{ALGORITHM} Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}")
}

fn canonical(signed: &Signed<'_>, names: &str) -> String {
    let mut headers = String::new();
    for (name, value) in signed.headers {
        headers.push_str(name);
        headers.push(':');
        headers.push_str(value.trim());
        headers.push('\n');
    }
    let Signed { method, path, query, body, .. } = signed;
    format!("{method}\n{path}\n{query}\n{headers}\n{names}\n{}", hash(body))
}

/// SHA-256 in hexadecimal digits.
pub(crate) fn hash(bytes: &[u8]) -> String {
    HEXLOWER.encode(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// `YYYYMMDDTHHMMSSZ` of seconds since 1970.
pub(crate) fn date(unix_seconds: u64) -> String {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(unix_seconds);
    let text = humantime::format_rfc3339_seconds(time).to_string();
    text.chars().filter(|letter| !matches!(letter, '-' | ':')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example credentials of the suite that AWS publishes.
    fn credentials() -> Credentials {
        Credentials {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            session_token: None,
        }
    }

    fn signature(
        method: &str,
        query: &str,
        headers: &[(&str, &str)],
        body: &str,
        service: &str,
    ) -> String {
        let signed = Signed {
            method,
            path: "/",
            query,
            headers,
            body: body.as_bytes(),
            region: "us-east-1",
            service,
            date: "20150830T123600Z",
        };
        authorization(&credentials(), &signed)
    }

    const DATE: (&str, &str) = ("x-amz-date", "20150830T123600Z");
    const HOST: (&str, &str) = ("host", "example.amazonaws.com");

    /// The AWS Signature Version 4 test suite: get-vanilla, post-vanilla,
    /// post-x-www-form-urlencoded and get-vanilla-query-order-key-case.
    #[test]
    fn the_published_vectors_hold() {
        let form = ("content-type", "application/x-www-form-urlencoded");
        for (method, query, headers, body, expected) in [
            (
                "GET",
                "",
                &[HOST, DATE][..],
                "",
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                "POST",
                "",
                &[HOST, DATE],
                "",
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
            (
                "POST",
                "",
                &[form, HOST, DATE],
                "Param1=value1",
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
            (
                "GET",
                "Param1=value1&Param2=value2",
                &[HOST, DATE],
                "",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
        ] {
            let header = signature(method, query, headers, body, "service");
            assert!(header.ends_with(&format!("Signature={expected}")), "{header}");
        }
    }

    /// The worked example of the AWS General Reference: `ListUsers` of IAM.
    #[test]
    fn the_documented_example_holds() {
        let form = ("content-type", "application/x-www-form-urlencoded; charset=utf-8");
        let query = "Action=ListUsers&Version=2010-05-08";
        let header =
            signature("GET", query, &[form, ("host", "iam.amazonaws.com"), DATE], "", "iam");
        assert_eq!(
            header,
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date, \
             Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
        );
    }

    #[test]
    fn dates_have_no_punctuation() {
        assert_eq!(date(1_440_938_160), "20150830T123600Z");
    }
}
