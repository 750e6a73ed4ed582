//! Where the log is.

use rdkafka::ClientConfig;

/// The brokers, and the prefix of the topics' names.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// Bootstrap servers: `host:port`, separated by commas.
    pub bootstrap: String,
    /// The first part of each topic's name; `shop` unless a test chooses another.
    pub prefix: String,
}

impl LogConfig {
    /// The settings that every client shares.
    pub(crate) fn client(&self, name: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.bootstrap)
            .set("client.id", name)
            // Come back soon after an outage: the defaults wait up to ten seconds.
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "500")
            .set("socket.keepalive.enable", "true")
            .set("socket.nagle.disable", "true")
            .set("allow.auto.create.topics", "false")
            // One line for each broken connection is the broker's log, not ours.
            .set("log.connection.close", "false");
        config
    }
}
