use anyhow::{Context, Result, anyhow, bail, ensure};

const USAGE: &str = "use --workload new|existing --commands N --clients N --url URL";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    New,
    Existing,
}

impl Workload {
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Existing => "existing",
        }
    }
}

#[derive(Debug)]
pub struct Args {
    pub workload: Workload,
    pub commands: usize,
    pub clients: usize,
    pub url: String,
}

impl Args {
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let (mut workload, mut commands, mut clients, mut url) = (None, None, None, None);
        while let Some(word) = words.next() {
            let value = words
                .next()
                .ok_or_else(|| anyhow!("{word} has no value; {USAGE}"))?;
            match word.as_str() {
                "--workload" if value == "new" => workload = Some(Workload::New),
                "--workload" if value == "existing" => workload = Some(Workload::Existing),
                "--commands" => commands = Some(positive(&word, &value)?),
                "--clients" => clients = Some(positive(&word, &value)?),
                "--url" => url = Some(value),
                _ => bail!("{word} {value} is not known; {USAGE}"),
            }
        }
        Ok(Self {
            workload: workload.context(USAGE)?,
            commands: commands.context(USAGE)?,
            clients: clients.context(USAGE)?,
            url: url.context(USAGE)?,
        })
    }

    /// The address without user and password.
    pub fn shown_url(&self) -> &str {
        self.url.rsplit_once('@').map_or(&self.url, |(_, place)| place)
    }
}

fn positive(word: &str, value: &str) -> Result<usize> {
    let number = value
        .parse()
        .with_context(|| format!("{word} {value} is not a number; {USAGE}"))?;
    ensure!(number > 0, "{word} must be at least 1; {USAGE}");
    Ok(number)
}
