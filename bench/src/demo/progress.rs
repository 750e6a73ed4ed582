//! What is going on, and how far it is: a bar on a terminal, else a line at the beginning and one at the end.

use std::{
    io::{IsTerminal as _, stderr},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// One step of the demo.
pub(super) struct Progress {
    label: String,
    begin: Instant,
    bar: ProgressBar,
}

impl Progress {
    /// Begins a step; `total` is 0 where nobody knows how much it will be.
    pub(super) fn begin(label: &str, total: usize) -> Self {
        let bar = if !stderr().is_terminal() {
            eprintln!("{label} …");
            ProgressBar::hidden()
        } else if total == 0 {
            let bar = ProgressBar::new_spinner();
            bar.set_style(style("{spinner} {msg} {elapsed} {human_pos}"));
            bar
        } else {
            let bar = ProgressBar::new(total as u64);
            bar.set_style(style("{msg} [{bar:40}] {human_pos}/{human_len} {elapsed}"));
            bar
        };
        bar.set_message(label.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        Self {
            label: label.to_owned(),
            begin: Instant::now(),
            bar,
        }
    }

    /// How far it is.
    pub(super) fn set(&mut self, done: usize) {
        self.bar.set_position(done as u64);
    }

    /// Says how far it is from somewhere else.
    pub(super) fn setter(&self) -> impl Fn(usize) + 'static {
        let bar = self.bar.clone();
        move |done| bar.set_position(done as u64)
    }

    /// It is done.
    pub(super) fn end(&mut self) {
        self.bar.finish_and_clear();
        eprintln!(
            "{}: done in {:.1} s",
            self.label,
            self.begin.elapsed().as_secs_f64()
        );
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
