//! Who may do what: tokens with tenants and roles, kept as hashes in a file that is read again when it changes.
//!
//! A secret is 256 random bits that `lastseen token` made; nobody chooses one, so a plain SHA-256 keeps it: there is
//! nothing to guess, and a request costs no more than a hash. It comes as `Authorization: Bearer SECRET`, or as the
//! password of basic authentication with the token's name as the user. Secrets are looked up by their hash, so that the
//! time of an answer tells nothing of them.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::problem::{self, Problem};
use crate::domain::event::is_tenant;

crate::domain::event::words!(
    /// What a token may be used for.
    Role {
        /// Reads devices, alarms, histories and the live feed.
        Viewer = "viewer",
        /// Reads, and gives commands.
        Operator = "operator",
        /// Sends events, and reads nothing.
        Ingest = "ingest",
        /// Reads, and sees the outcomes of commands, the policy and the health of the monitor.
        Auditor = "auditor",
    }
);

/// What a route needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    /// To read a tenant's devices.
    Read,
    /// To give commands to them.
    Command,
    /// To send events of them.
    Send,
    /// To read who did what.
    Audit,
}

impl Need {
    /// The roles that have it.
    pub const fn roles(self) -> &'static [Role] {
        match self {
            Need::Read => &[Role::Viewer, Role::Operator, Role::Auditor],
            Need::Command => &[Role::Operator],
            Need::Send => &[Role::Ingest, Role::Operator],
            Need::Audit => &[Role::Auditor],
        }
    }
}

/// The tenants of a token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Tenants {
    /// All of them, those to come included.
    All,
    /// These.
    Some(Vec<String>),
}

/// A token, without its secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    /// Who: the actor of its commands.
    pub name: String,
    /// Where.
    pub tenants: Tenants,
    /// What for.
    pub roles: Vec<Role>,
}

impl Token {
    /// Whether it may do this to this tenant. `None`: to what belongs to no tenant, for which it needs all of them.
    ///
    /// # Errors
    /// It may not. The answer is the same whether the tenant exists or not.
    pub fn may(&self, need: Need, tenant: Option<&str>) -> Result<(), Problem> {
        let is_theirs = match (&self.tenants, tenant) {
            (Tenants::All, _) => true,
            (Tenants::Some(tenants), Some(tenant)) => tenants.iter().any(|known| known == tenant),
            (Tenants::Some(_), None) => false,
        };
        if !is_theirs {
            return Err(match tenant {
                Some(tenant) => {
                    problem::forbidden(format!("the token {:?} is not for the tenant {tenant:?}", self.name))
                }
                None => {
                    problem::forbidden(format!("this takes a token for all tenants; {:?} is not", self.name))
                }
            });
        }
        if need.roles().iter().any(|role| self.roles.contains(role)) {
            return Ok(());
        }
        let roles: Vec<&str> = need.roles().iter().map(|role| role.word()).collect();
        Err(problem::forbidden(format!(
            "this takes the role {}; the token {:?} does not have it",
            roles.join(" or "),
            self.name
        )))
    }
}

/// The file of tokens.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenFile {
    #[serde(default, rename = "token")]
    tokens: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    sha256: String,
    tenants: Vec<String>,
    roles: Vec<String>,
}

/// The hash by which a secret is kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// Of a secret.
    pub fn of(secret: &str) -> SecretHash {
        SecretHash(Sha256::digest(secret.as_bytes()).into())
    }

    fn read(text: &str) -> Option<SecretHash> {
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
        }
        Some(SecretHash(bytes))
    }
}

impl fmt::Display for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hash of a secret)")
    }
}

/// A new secret.
pub fn new_secret() -> String {
    let bytes: [u8; 32] = rand::random();
    format!("lst_{}", URL_SAFE_NO_PAD.encode(bytes))
}

/// The lines of the file that make a token of a secret.
pub fn file_entry(token: &Token, secret: &str) -> String {
    let quoted = |words: Vec<&str>| {
        let words: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
        words.join(", ")
    };
    let tenants = match &token.tenants {
        Tenants::All => quoted(vec!["*"]),
        Tenants::Some(tenants) => quoted(tenants.iter().map(String::as_str).collect()),
    };
    let roles = quoted(token.roles.iter().map(|role| role.word()).collect());
    format!(
        "[[token]]\nname = {:?}\nsha256 = \"{}\"\ntenants = [{tenants}]\nroles = [{roles}]\n",
        token.name,
        SecretHash::of(secret)
    )
}

/// A token from its words.
///
/// # Errors
/// A name, tenant or role that cannot be.
pub fn token(name: &str, tenants: &[String], roles: &[String]) -> Result<Token, String> {
    let is_name = (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte));
    if !is_name {
        return Err(format!("name = {name:?}: it must be 1 to 64 of A-Z a-z 0-9 . _ - @"));
    }
    let tenants = match tenants {
        [all] if all == "*" => Tenants::All,
        [] => return Err(format!("the token {name:?} has no tenants; give it some, or [\"*\"] for all")),
        tenants => {
            if let Some(wrong) = tenants.iter().find(|tenant| !is_tenant(tenant)) {
                return Err(format!(
                    "the token {name:?}: {wrong:?} is no tenant (1 to 64 of A-Z a-z 0-9 _ -)"
                ));
            }
            Tenants::Some(tenants.to_vec())
        }
    };
    let role = |word: &String| {
        Role::from_word(word).ok_or_else(|| {
            let known: Vec<&str> = Role::ALL.iter().map(|role| role.word()).collect();
            format!("the token {name:?}: {word:?} is no role; there are {}", known.join(", "))
        })
    };
    let roles = roles.iter().map(role).collect::<Result<Vec<Role>, String>>()?;
    if roles.is_empty() {
        return Err(format!("the token {name:?} has no roles"));
    }
    Ok(Token { name: name.to_owned(), tenants, roles })
}

type Known = HashMap<SecretHash, Arc<Token>>;

fn read_file(text: &str) -> Result<Known, String> {
    let file: TokenFile = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    let mut known = Known::new();
    for entry in file.tokens {
        let token = token(&entry.name, &entry.tenants, &entry.roles)?;
        let hash = SecretHash::read(&entry.sha256)
            .ok_or_else(|| format!("the token {:?}: sha256 must be 64 hexadecimal digits", entry.name))?;
        if known.values().any(|other| other.name == entry.name) {
            return Err(format!("the token {:?} is there twice", entry.name));
        }
        if known.insert(hash, Arc::new(token)).is_some() {
            return Err(format!("the token {:?} has the secret of another one", entry.name));
        }
    }
    Ok(known)
}

/// Whether a text can be a file of tokens.
///
/// # Errors
/// It cannot: what is wrong.
pub fn check(text: &str) -> Result<(), String> {
    read_file(text).map(|_| ())
}

fn unknown() -> Problem {
    problem::unauthorized("this token is not known here; perhaps it was removed, or is of another service")
}

/// How many requests one token may make.
#[derive(Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

/// The tokens that count.
#[derive(Debug)]
pub struct Tokens {
    file: Option<PathBuf>,
    known: RwLock<Known>,
    /// The text that was read last, by its hash: modification times may stand still.
    read: Mutex<Option<SecretHash>>,
    buckets: Mutex<HashMap<String, Bucket>>,
    per_second: f64,
}

impl Tokens {
    /// Those of a file, or none.
    ///
    /// # Errors
    /// The file cannot be read, or something in it cannot be: what, and where.
    pub fn open(file: Option<&Path>, per_second: u32) -> Result<Tokens, String> {
        let tokens = Tokens {
            file: file.map(Path::to_owned),
            known: RwLock::default(),
            read: Mutex::default(),
            buckets: Mutex::default(),
            per_second: f64::from(per_second),
        };
        tokens.reload()?;
        Ok(tokens)
    }

    /// Adds one for the life of the process: the demo's.
    pub fn add(&self, token: Token, secret: &str) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(SecretHash::of(secret), Arc::new(token));
    }

    /// Reads the file again if it changed; whether it did.
    ///
    /// # Errors
    /// As [`Tokens::open`]; the tokens known so far go on counting.
    pub fn reload(&self) -> Result<bool, String> {
        let Some(file) = &self.file else { return Ok(false) };
        let place = file.display();
        let text = std::fs::read_to_string(file).map_err(|error| format!("cannot read {place}: {error}"))?;
        let hash = Some(SecretHash::of(&text));
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if *read == hash {
            return Ok(false);
        }
        // What is wrong is said once.
        *read = hash;
        let known = read_file(&text).map_err(|problem| format!("{place}: {problem}"))?;
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
        Ok(true)
    }

    /// Whether there are any.
    pub fn is_empty(&self) -> bool {
        self.known.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Who asks. The user of basic authentication must be the name of the token.
    ///
    /// # Errors
    /// Nobody, nobody we know, or too often.
    pub fn who(&self, headers: &HeaderMap) -> Result<Arc<Token>, Problem> {
        let (token, user) = self.known(headers)?;
        if user.is_some_and(|user| user != token.name) {
            return Err(unknown());
        }
        self.count(&token.name)?;
        Ok(token)
    }

    /// Who asks, whatever the user of basic authentication is called; and what they are called. The secret alone says who
    /// it is: the clients of other products have user names of their own.
    ///
    /// # Errors
    /// As [`Tokens::who`].
    pub fn who_by_secret(&self, headers: &HeaderMap) -> Result<(Arc<Token>, Option<String>), Problem> {
        let found = self.known(headers)?;
        self.count(&found.0.name)?;
        Ok(found)
    }

    fn known(&self, headers: &HeaderMap) -> Result<(Arc<Token>, Option<String>), Problem> {
        let said = headers.get(header::AUTHORIZATION).ok_or_else(|| match self.is_empty() {
            true => problem::unauthorized(
                "no tokens are set up: `lastseen token` makes one, http.tokens names the file for it",
            ),
            false => {
                problem::unauthorized("send a token: Authorization: Bearer SECRET, or basic authentication")
            }
        })?;
        let said = said.to_str().map_err(|_| unknown())?;
        let (scheme, rest) = said.split_once(' ').unwrap_or((said, ""));
        let (user, secret) = match scheme.to_ascii_lowercase().as_str() {
            "bearer" => (None, rest.trim().to_owned()),
            "basic" => {
                let plain = STANDARD.decode(rest.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
                let plain = plain.ok_or_else(unknown)?;
                let (user, secret) = plain.split_once(':').ok_or_else(unknown)?;
                (Some(user.to_owned()), secret.to_owned())
            }
            _ => return Err(problem::unauthorized("the scheme must be Bearer or Basic")),
        };
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let token = known.get(&SecretHash::of(&secret)).ok_or_else(unknown)?;
        Ok((Arc::clone(token), user))
    }

    fn count(&self, name: &str) -> Result<(), Problem> {
        if self.per_second == 0.0 {
            return Ok(());
        }
        let now = Instant::now();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        // Two seconds' worth may come at once.
        let full = self.per_second * 2.0;
        let bucket = buckets.entry(name.to_owned()).or_insert(Bucket { left: full, at: now });
        let passed = now.saturating_duration_since(bucket.at).min(Duration::from_secs(60));
        bucket.left = (bucket.left + passed.as_secs_f64() * self.per_second).min(full);
        bucket.at = now;
        if bucket.left < 1.0 {
            let most = self.per_second;
            return Err(problem::too_many(format!(
                "the token {name:?} made more than {most} requests a second (http.requests_per_second)"
            )));
        }
        bucket.left -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        headers
    }

    fn kim() -> Token {
        token("kim", &["acme".into()], &["viewer".into()]).unwrap()
    }

    #[test]
    fn a_secret_is_found_by_its_hash_and_never_kept() {
        let secret = new_secret();
        let entry = file_entry(&kim(), &secret);
        assert!(!entry.contains(&secret[4..]), "{entry}");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tokens.toml");
        std::fs::write(&file, &entry).unwrap();
        let tokens = Tokens::open(Some(&file), 0).unwrap();
        assert_eq!(*tokens.who(&headers(&format!("Bearer {secret}"))).unwrap(), kim());
        let basic =
            |user: &str, secret: &str| format!("Basic {}", STANDARD.encode(format!("{user}:{secret}")));
        assert_eq!(*tokens.who(&headers(&basic("kim", &secret))).unwrap(), kim());
        for wrong in
            [basic("lee", &secret), basic("kim", "x"), "Bearer x".into(), "Digest x".into(), "Bearer".into()]
        {
            assert_eq!(tokens.who(&headers(&wrong)).unwrap_err().status, 401, "{wrong}");
        }
        assert_eq!(tokens.who(&HeaderMap::new()).unwrap_err().status, 401);
        assert!(
            !format!("{tokens:?}").contains(&SecretHash::of(&secret).to_string()),
            "not even the hash is shown"
        );

        assert_eq!(tokens.reload(), Ok(false));
        std::fs::write(&file, "").unwrap();
        assert_eq!(tokens.reload(), Ok(true));
        assert_eq!(
            tokens.who(&headers(&format!("Bearer {secret}"))).unwrap_err().status,
            401,
            "withdrawn at once"
        );
    }

    #[test]
    fn a_file_that_is_wrong_is_refused_and_the_tokens_before_it_count_on() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tokens.toml");
        std::fs::write(&file, file_entry(&kim(), "s")).unwrap();
        let tokens = Tokens::open(Some(&file), 0).unwrap();
        let good = file_entry(&kim(), "s");
        for (wrong, why) in [
            (good.replace("viewer", "boss"), "is no role"),
            (good.replace("acme", "a/b"), "is no tenant"),
            (good.replace("sha256 = \"", "sha256 = \"z"), "64 hexadecimal digits"),
            (good.replace("roles", "rules"), "unknown field"),
            (format!("{good}{good}"), "there twice"),
            (format!("{good}{}", good.replace("kim", "lee")), "the secret of another one"),
        ] {
            std::fs::write(&file, &wrong).unwrap();
            let problem = tokens.reload().unwrap_err();
            assert!(problem.contains(why) && problem.contains("tokens.toml"), "{problem}");
            assert!(tokens.who(&headers("Bearer s")).is_ok(), "the one before goes on");
        }
    }

    #[test]
    fn a_role_is_for_what_it_says_and_a_tenant_for_itself() {
        let may = |roles: &[&str], need: Need, tenant: Option<&str>| {
            let roles: Vec<String> = roles.iter().map(|role| (*role).to_owned()).collect();
            token("kim", &["acme".into()], &roles).unwrap().may(need, tenant).is_ok()
        };
        let acme = Some("acme");
        assert!(may(&["viewer"], Need::Read, acme) && !may(&["viewer"], Need::Command, acme));
        assert!(may(&["operator"], Need::Command, acme) && !may(&["operator"], Need::Audit, acme));
        assert!(may(&["ingest"], Need::Send, acme) && !may(&["ingest"], Need::Read, acme));
        assert!(may(&["auditor"], Need::Audit, acme) && !may(&["auditor"], Need::Command, acme));
        for role in Role::ALL {
            assert!(!may(&[role.word()], Need::Read, Some("other")), "{role}");
            assert!(!may(&[role.word()], Need::Audit, None), "{role}");
        }
        let refused = |tenant: &str| kim().may(Need::Read, Some(tenant)).unwrap_err();
        assert_eq!(
            refused("other").detail.replace("other", "x"),
            refused("nobody").detail.replace("nobody", "x")
        );
    }

    #[test]
    fn who_asks_too_often_is_told() {
        let tokens = Tokens::open(None, 2).unwrap();
        tokens.add(kim(), "s");
        let asked: Vec<bool> = (0..6).map(|_| tokens.who(&headers("Bearer s")).is_ok()).collect();
        assert_eq!(asked, [true, true, true, true, false, false]);
        assert_eq!(tokens.who(&headers("Bearer s")).unwrap_err().status, 429);
    }
}
