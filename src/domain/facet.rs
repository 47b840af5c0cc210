//! The six statuses that a person or a program reads (SEMANTICS §5).

use super::event::words;

words!(
    /// Did data arrive within the required interval (seed: send connection).
    Availability {
        NotMonitored = "NOT_MONITORED", Maintenance = "MAINTENANCE", Unknown = "UNKNOWN", Available = "AVAILABLE",
        Unavailable = "UNAVAILABLE",
    }
);
words!(
    /// Can the platform reach the device (seed: push connection).
    Push { NotMonitored = "NOT_MONITORED", Maintenance = "MAINTENANCE", Online = "ONLINE", Offline = "OFFLINE" }
);
words!(
    /// Client connection state (seed: Watson IoT), and that of the VPN.
    Connection { Unknown = "UNKNOWN", Connected = "CONNECTED", Disconnected = "DISCONNECTED" }
);
words!(
    /// Recent API communication (seed: balena).
    Heartbeat { Unknown = "UNKNOWN", Online = "ONLINE", Timeout = "TIMEOUT", Offline = "OFFLINE" }
);
words!(
    /// The one word for people (seed: balena's six, and UNKNOWN).
    Overall {
        Unknown = "UNKNOWN", Online = "ONLINE", Configuring = "CONFIGURING", Updating = "UPDATING",
        Offline = "OFFLINE", PostProvisioning = "POST_PROVISIONING", Inactive = "INACTIVE",
    }
);
words!(
    /// The label of the overall status, for people.
    Label {
        Unknown = "Unknown", Online = "Online", HeartbeatOnly = "Online (Heartbeat Only)",
        VpnOnly = "Online (VPN Only)", Configuring = "Configuring", Updating = "Updating", Offline = "Offline",
        PostProvisioning = "Post Provisioning", Inactive = "Inactive",
    }
);
words!(
    /// The name of a facet.
    Facet {
        Availability = "availability", Push = "push", Connection = "connection", Vpn = "vpn",
        Heartbeat = "heartbeat", Overall = "overall",
    }
);

/// All facets of a device at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facets {
    /// Did data arrive within the required interval.
    pub availability: Availability,
    /// Can the platform reach the device.
    pub push: Push,
    /// Client connection state.
    pub connection: Connection,
    /// State of the VPN tunnel.
    pub vpn: Connection,
    /// Recent API communication.
    pub heartbeat: Heartbeat,
    /// The one word for people.
    pub overall: Overall,
    /// Its label.
    pub label: Label,
}

impl Facets {
    /// What a new device starts with.
    pub const START: Facets = Facets {
        availability: Availability::NotMonitored,
        push: Push::NotMonitored,
        connection: Connection::Unknown,
        vpn: Connection::Unknown,
        heartbeat: Heartbeat::Unknown,
        overall: Overall::Unknown,
        label: Label::Unknown,
    };

    /// What differs between two moments, in the order of [`Facet`]. A change of the label alone is a change of the
    /// overall status.
    pub fn changes(before: &Facets, after: &Facets) -> Vec<FacetChange> {
        let mut changes = Vec::new();
        let mut push = |facet, from: &'static str, to: &'static str, label: Option<Label>| {
            if from != to || label.is_some() && before.label != after.label {
                changes.push(FacetChange { facet, from, to, label });
            }
        };
        push(Facet::Availability, before.availability.word(), after.availability.word(), None);
        push(Facet::Push, before.push.word(), after.push.word(), None);
        push(Facet::Connection, before.connection.word(), after.connection.word(), None);
        push(Facet::Vpn, before.vpn.word(), after.vpn.word(), None);
        push(Facet::Heartbeat, before.heartbeat.word(), after.heartbeat.word(), None);
        push(Facet::Overall, before.overall.word(), after.overall.word(), Some(after.label));
        changes
    }
}

/// One facet that changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FacetChange {
    /// Which.
    pub facet: Facet,
    /// The word before.
    pub from: &'static str,
    /// The word after.
    pub to: &'static str,
    /// The new label, with a change of the overall status.
    pub label: Option<Label>,
}
