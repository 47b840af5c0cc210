//! What the page says of statuses and times, and in which shape: every status has words and a shape, never a colour alone.

use maud::{Markup, Render, html};

use super::icons;
use crate::domain::facet::{Availability, Connection, Facets, Heartbeat, Label, Overall, Push};
use crate::domain::policy::Severity;
use crate::domain::time::Timestamp;

/// A time as the page shows it: in UTC, with how long ago that was at `now`; [`Timestamp::NEVER`] is "never".
pub fn when(at: Timestamp, now: Timestamp) -> Markup {
    html! {
        @if let Some(at) = at.known() {
            time datetime=(at) { (plain(at)) }
            " "
            span class="ago" data-at=(at.millis()) { (ago(at, now)) }
        } @else {
            span class="never" { "never" }
        }
    }
}

/// A time in UTC, to the second.
pub fn plain(at: Timestamp) -> String {
    match at.known() {
        None => "never".to_owned(),
        Some(at) => {
            let text = at.to_string();
            match (text.get(..10), text.get(11..19)) {
                (Some(day), Some(time)) => format!("{day} {time} UTC"),
                _ => text,
            }
        }
    }
}

/// How long ago a time is, in one number and one unit. `page.js` says it in the same words.
pub fn ago(at: Timestamp, now: Timestamp) -> String {
    let seconds = (now - at).0.div_euclid(1000);
    let length = length(seconds.unsigned_abs());
    match seconds {
        -4..=4 => "just now".to_owned(),
        5.. => format!("{length} ago"),
        _ => format!("in {length}"),
    }
}

/// A number of seconds in one number and one unit.
pub fn length(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..5_400 => format!("{} min", seconds / 60),
        5_400..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A sign: its shape (an icon of [`super::icons`]), its colour (a class), its word, and the whole for who cannot see it or
/// wants to know more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sign {
    /// What it is a sign of; a class, too.
    pub what: &'static str,
    /// The icon.
    pub icon: &'static str,
    /// good, bad, warn or off.
    pub tone: &'static str,
    /// One word.
    pub word: &'static str,
    /// What is told on hover, focus and tap.
    pub tip: String,
}

impl Render for Sign {
    fn render(&self) -> Markup {
        let Sign { what, icon, tone, word, tip } = self;
        let name = match *what {
            "send" => "Send connection",
            "push" => "Push connection",
            "vpn" => "VPN tunnel",
            "heartbeat" => "API heartbeat",
            _ => "Client connection",
        };
        html! {
            span class={ "sign " (what) " " (tone) } tabindex="0" role="img" aria-label={ (name) ": " (word) ". " (tip) } {
                (icons::icon(icon))
                span class="tip" aria-hidden="true" { (tip) }
            }
        }
    }
}

impl Sign {
    /// The send connection: the top arrow.
    pub fn send(availability: Availability, last_message: Timestamp) -> Sign {
        let (icon, tone, word) = match availability {
            Availability::Available => ("send-good", "good", "Online"),
            Availability::Unavailable => ("send-bad", "bad", "Offline"),
            Availability::Unknown => ("send-off", "off", "Unknown"),
            Availability::NotMonitored => ("send-off", "off", "Not monitored"),
            Availability::Maintenance => ("tool", "warn", "Maintenance"),
        };
        let tip = match availability {
            Availability::NotMonitored => "Connection not monitored".to_owned(),
            Availability::Maintenance => "Under maintenance: no alarm is raised".to_owned(),
            _ => format!("Last request from device to server: {}", plain(last_message)),
        };
        Sign { what: "send", icon, tone, word, tip }
    }

    /// The push connection: the bottom arrow.
    pub fn push(push: Push) -> Sign {
        let (icon, tone, word, tip) = match push {
            Push::Online => ("push-good", "good", "Online", "Push connection: active"),
            Push::Offline => ("push-bad", "bad", "Offline", "Push connection: inactive"),
            Push::NotMonitored => ("push-off", "off", "Not monitored", "Push connection: not monitored"),
            Push::Maintenance => ("tool", "warn", "Maintenance", "Under maintenance"),
        };
        Sign { what: "push", icon, tone, word, tip: tip.to_owned() }
    }

    /// The tunnel: the check mark.
    pub fn vpn(vpn: Connection) -> Sign {
        let (icon, tone, word, tip) = match vpn {
            Connection::Connected => ("check", "good", "Connected", "VPN: connected"),
            Connection::Disconnected => ("cross", "bad", "Disconnected", "VPN: disconnected"),
            Connection::Unknown => ("dash", "off", "Never seen", "VPN: never connected"),
        };
        Sign { what: "vpn", icon, tone, word, tip: tip.to_owned() }
    }

    /// Recent API communication: the heartbeat.
    pub fn heartbeat(heartbeat: Heartbeat, last_poll: Timestamp) -> Sign {
        let (icon, tone, word) = match heartbeat {
            Heartbeat::Online => ("beat", "good", "Recent"),
            Heartbeat::Timeout => ("beat", "warn", "Running out"),
            Heartbeat::Offline => ("flat", "bad", "None recently"),
            Heartbeat::Unknown => ("dash", "off", "Never seen"),
        };
        let tip = match heartbeat {
            Heartbeat::Unknown => "API heartbeat: it never polled".to_owned(),
            _ => format!("API heartbeat: {}; last poll {}", word.to_lowercase(), plain(last_poll)),
        };
        Sign { what: "heartbeat", icon, tone, word, tip }
    }

    /// The client connection state.
    pub fn connection(connection: Connection) -> Sign {
        let (icon, tone, word) = match connection {
            Connection::Connected => ("check", "good", "Connected"),
            Connection::Disconnected => ("cross", "bad", "Disconnected"),
            Connection::Unknown => ("dash", "off", "Unknown"),
        };
        Sign {
            what: "connection",
            icon,
            tone,
            word,
            tip: format!("Client connection: {}", word.to_lowercase()),
        }
    }
}

/// The colour of an overall status.
pub fn tone_of(overall: Overall) -> &'static str {
    match overall {
        Overall::Online => "good",
        Overall::Offline => "bad",
        Overall::Configuring | Overall::Updating | Overall::PostProvisioning => "warn",
        Overall::Unknown | Overall::Inactive => "off",
    }
}

/// The colour of a severity.
pub fn tone_of_severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical | Severity::Major => "bad",
        Severity::Minor | Severity::Warning => "warn",
    }
}

/// What the tunnel and the heartbeat tell together, where that is of use to whoever looks for a fault.
pub fn hint(facets: &Facets) -> Option<&'static str> {
    match facets.label {
        Label::HeartbeatOnly => Some(
            "The device reaches the API, but its tunnel is not up: perhaps a firewall blocks the VPN. A device that was \
             switched off also looks like this until its poll window ends.",
        ),
        Label::VpnOnly => Some(
            "The tunnel is up, but the device did not reach the API in time: it cannot get or tell its state.",
        ),
        _ => None,
    }
}

/// A word of the outputs for people: `DISCONNECTED_BY_NETWORK` is "Disconnected by network".
pub fn human(word: &str) -> String {
    let lower = word.to_lowercase().replace('_', " ");
    let mut letters = lower.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Millis;

    #[test]
    fn how_long_ago_is_one_number_and_one_unit() {
        let now = Timestamp::from_millis(1_767_225_600_000);
        let said = |seconds: i64| ago(now + Millis(-1000 * seconds), now);
        let all: Vec<String> = [0, 4, 5, 59, 60, 5_399, 5_400, 172_799, 172_800, -90].map(said).into();
        let wanted = [
            "just now",
            "just now",
            "5 s ago",
            "59 s ago",
            "1 min ago",
            "89 min ago",
            "1 h ago",
            "47 h ago",
            "2 d ago",
            "in 1 min",
        ];
        assert_eq!(all, wanted);
        assert_eq!(plain(now), "2026-01-01 00:00:00 UTC");
        assert_eq!(plain(Timestamp::NEVER), "never");
    }

    #[test]
    fn no_two_signs_that_mean_different_things_look_alike_without_colour() {
        let send = [Availability::Available, Availability::Unavailable, Availability::Unknown];
        let icons: Vec<&str> = send.map(|one| Sign::send(one, Timestamp::NEVER).icon).into();
        assert_eq!(icons, ["send-good", "send-bad", "send-off"]);
        let push = [Push::Online, Push::Offline, Push::NotMonitored].map(|one| Sign::push(one).icon);
        assert_eq!(push, ["push-good", "push-bad", "push-off"]);
    }

    #[test]
    fn words_are_for_people() {
        assert_eq!(human("DISCONNECTED_BY_NETWORK"), "Disconnected by network");
        assert_eq!(human(""), "");
    }
}
