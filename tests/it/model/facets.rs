//! The facets of a device, from its facts: SEMANTICS §5.

use super::device::{Device, World};
use super::input::{Channel, Phase, Stage};

/// In the order of `scenarios/README.md`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facets {
    pub availability: &'static str,
    pub push: &'static str,
    pub connection: &'static str,
    pub vpn: &'static str,
    pub heartbeat: &'static str,
    pub overall: &'static str,
    pub label: &'static str,
}

/// "A new device starts as …"
pub const START: Facets = Facets {
    availability: "NOT_MONITORED",
    push: "NOT_MONITORED",
    connection: "UNKNOWN",
    vpn: "UNKNOWN",
    heartbeat: "UNKNOWN",
    overall: "UNKNOWN",
    label: "Unknown",
};

/// §5.3.
pub const CONNECTION_CHANNELS: [Channel; 4] =
    [Channel::Mqtt, Channel::Websocket, Channel::Lwm2m, Channel::Http];
/// §5.2: "A vpn session is not a push connection."
const PUSH_CHANNELS: [Channel; 3] = [Channel::Mqtt, Channel::Websocket, Channel::LongPoll];

/// §5.5, as shown: what a deadline has not moved yet stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Window {
    Online,
    Timeout,
    Offline,
}

#[derive(Clone, Debug, Default)]
pub struct Polls {
    /// The clock of §4.
    pub last_poll: Option<i64>,
    sight: Option<i64>,
    shown: Option<Window>,
    pub interval_s: Option<i64>,
    pub vpn_expected: Option<bool>,
}

impl Device {
    fn window_end(&self, world: &World) -> Option<i64> {
        let from = self.polls.last_poll?.max(self.polls.sight.unwrap_or(i64::MIN));
        Some(from + world.policy.poll_window(self.polls.interval_s))
    }

    pub fn state_poll(&mut self, at: i64, world: &World) {
        let polls = &mut self.polls;
        let later = polls.last_poll.is_none_or(|last| at > last);
        polls.last_poll = polls.last_poll.max(Some(at));
        // §12 Sight: "a poll from before it changes nothing in hindsight": a window that is over stays over.
        let over = matches!(polls.shown, Some(Window::Timeout | Window::Offline));
        if later && !(over && world.last_sight.is_some_and(|sight| at < sight)) {
            // §12: "An event takes effect first, the lapse follows" holds for the poll window too.
            polls.shown = Some(Window::Online);
        }
    }

    /// Settings or a policy may re-open a window; what they end, the lapse ends in a step of its own.
    pub fn settle_window(&mut self, world: &World) {
        let Some(end) = self.window_end(world) else { return };
        // §5.5: now < P+W: ONLINE; now < P+W+15 s: TIMEOUT; else OFFLINE.
        let today = if world.now < end {
            Window::Online
        } else if world.now < end + world.policy.poll_slack {
            Window::Timeout
        } else {
            Window::Offline
        };
        self.polls.shown = self.polls.shown.min(Some(today));
    }

    pub fn window_due(&self, world: &World) -> Option<i64> {
        let end = self.window_end(world)?;
        match self.polls.shown? {
            Window::Online => Some(end),
            Window::Timeout => Some(end + world.policy.poll_slack),
            Window::Offline => None,
        }
    }

    pub fn window_lapses(&mut self, world: &World) -> i64 {
        let moment = self.window_due(world).expect("due");
        let online = self.polls.shown == Some(Window::Online);
        let pause = world.policy.poll_slack > 0;
        self.polls.shown = Some(if online && pause { Window::Timeout } else { Window::Offline });
        moment
    }

    /// §9 Sight: "a poll window that is not over"; §12: "a poll window in TIMEOUT counts as over".
    pub fn see_window(&mut self, at: i64) {
        if self.polls.shown == Some(Window::Online) {
            self.polls.sight = Some(at);
        }
    }

    pub fn facets(&self, world: &World) -> Facets {
        let availability = self.availability_facet(world);
        let push = self.push_facet();
        let connection = self.channels_facet(&CONNECTION_CHANNELS);
        let vpn = self.channels_facet(&[Channel::Vpn]);
        let heartbeat = match self.polls.shown {
            None => "UNKNOWN",
            Some(Window::Online) => "ONLINE",
            Some(Window::Timeout) => "TIMEOUT",
            Some(Window::Offline) => "OFFLINE",
        };
        let mut facets = Facets { availability, push, connection, vpn, heartbeat, overall: "", label: "" };
        (facets.overall, facets.label) = self.overall(&facets);
        facets
    }

    /// The table of §5.1.
    fn availability_facet(&self, world: &World) -> &'static str {
        match self.availability.interval {
            None => "NOT_MONITORED",
            Some(r) if r <= 0 => "MAINTENANCE",
            Some(_) if self.availability.verdict.is_some() => "UNAVAILABLE",
            Some(_) if self.has_message(world) => "AVAILABLE",
            Some(_) => "UNKNOWN",
        }
    }

    fn push_session(&self) -> bool {
        self.channels
            .values()
            .filter(|c| PUSH_CHANNELS.contains(&c.channel))
            .any(|c| c.current.is_some_and(|i| c.all[i].can_receive))
    }

    /// §5.2.
    fn push_facet(&self) -> &'static str {
        match self.availability.interval {
            Some(r) if r <= 0 => "MAINTENANCE",
            _ if self.push_session() => "ONLINE",
            Some(_) => "OFFLINE",
            None => "NOT_MONITORED",
        }
    }

    /// §5.3, §5.4: "Never map UNKNOWN to DISCONNECTED."
    fn channels_facet(&self, channels: &[Channel]) -> &'static str {
        let mine = || self.channels.values().filter(|c| channels.contains(&c.channel));
        if mine().any(|c| c.current.is_some()) {
            "CONNECTED"
        } else if mine().any(|c| c.recorded().is_some() || !c.remembered().is_empty()) {
            // A session is known and none is open: also where, evidence of several kinds being mixed, no end counts.
            "DISCONNECTED"
        } else {
            "UNKNOWN"
        }
    }

    /// §5.6, rule by rule; "First match wins."
    fn overall(&self, f: &Facets) -> (&'static str, &'static str) {
        let plain = f.vpn == "UNKNOWN" && f.heartbeat == "UNKNOWN";
        let maintenance = self.availability.interval.is_some_and(|r| r <= 0);
        let (tunnel, heard) = if plain {
            // "A plain device in maintenance: tunnel counts a session that 5.2 would otherwise call ONLINE".
            let push = f.push == "ONLINE" || (maintenance && self.push_session());
            (push || f.connection == "CONNECTED", f.availability == "AVAILABLE")
        } else {
            (f.vpn == "CONNECTED", f.heartbeat == "ONLINE" || f.heartbeat == "TIMEOUT")
        };
        // Rule 4, which rule 3 asks for as well.
        let rule_4 = if tunnel || heard || f.connection == "CONNECTED" || f.push == "ONLINE" {
            None
        } else if plain && (maintenance || (f.connection == "UNKNOWN" && f.availability != "UNAVAILABLE")) {
            Some("UNKNOWN")
        } else {
            Some("OFFLINE")
        };
        let ever = self.last_heard.is_some();
        let stage = self.lifecycle.map(|(stage, _)| stage);
        let under_way =
            self.lifecycle.and_then(|(_, progress)| progress).is_some_and(|p| (0..=99).contains(&p));
        // 1.
        if stage == Some(Stage::Deactivated) || (stage == Some(Stage::Preregistered) && !ever) {
            return ("INACTIVE", "Inactive");
        }
        // 2. "not heard from since (that moment included …)": heard from at that moment is heard from since.
        let since = self.stage_since.unwrap_or(i64::MIN);
        if stage == Some(Stage::PostProvisioning) && self.last_heard.is_none_or(|heard| heard < since) {
            return ("POST_PROVISIONING", "Post Provisioning");
        }
        // 3.
        if (stage == Some(Stage::Configuring) || under_way) && !(ever && rule_4 == Some("OFFLINE")) {
            return ("CONFIGURING", "Configuring");
        }
        // 4.
        match rule_4 {
            Some("OFFLINE") => return ("OFFLINE", "Offline"),
            Some(_) => return ("UNKNOWN", "Unknown"),
            None => {}
        }
        // 5.
        if matches!(self.update, Some(Phase::Downloading | Phase::Installing)) {
            return ("UPDATING", "Updating");
        }
        // 6.
        let label = match (plain, tunnel, heard) {
            (false, false, true) if self.polls.vpn_expected.unwrap_or(true) => "Online (Heartbeat Only)",
            (false, true, false) => "Online (VPN Only)",
            _ => "Online",
        };
        ("ONLINE", label)
    }
}
