//! Calls of a tool, one by one.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use sidegate_policy::clock::{Clock as _, SystemClock};
use tokio::time::{Instant, sleep};

use crate::https::Target;
use crate::print_started;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    #[arg(long, default_value = "get_customer_info")]
    tool: String,
    #[arg(long, default_value = r#"{"customer_id": "C-1001"}"#)]
    arguments: String,
    /// Call again and again until this is the answer's status
    #[arg(long)]
    until: Option<u16>,
    /// Longest time to wait for it, in seconds
    #[arg(long, default_value_t = 30)]
    seconds: u64,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub(crate) struct Called {
    status: Option<u16>,
    body: String,
    error: Option<String>,
    /// When the last request was sent.
    sent_at_ms: i64,
    tries: u64,
}

const STEP: Duration = Duration::from_millis(2);

pub(crate) async fn run(args: Args) -> anyhow::Result<Called> {
    let arguments: Value = serde_json::from_str(&args.arguments)?;
    let end = Instant::now() + Duration::from_secs(args.seconds);
    let mut tries = 0;
    let mut connection = None;
    if args.until.is_some() {
        print_started()?;
    }
    loop {
        tries += 1;
        let sent_at_ms = SystemClock.unix_millis();
        let said = async {
            let mut open = match connection.take() {
                Some(open) => open,
                None => args.target.connect().await?,
            };
            let request = args.target.request(&args.tool, arguments.clone());
            let answer = open.send(request).await?;
            if !answer.last {
                connection = Some(open);
            }
            anyhow::Ok(answer)
        };
        let called = match said.await {
            Ok(answer) => Called {
                status: Some(answer.status),
                body: answer.body,
                error: None,
                sent_at_ms,
                tries,
            },
            Err(error) => Called {
                status: None,
                body: String::new(),
                error: Some(format!("{error:#}")),
                sent_at_ms,
                tries,
            },
        };
        let is_wished = args.until.is_none() || args.until == called.status;
        if is_wished || Instant::now() > end {
            return Ok(called);
        }
        sleep(STEP).await;
    }
}
