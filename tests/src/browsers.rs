//! Real browsers, each page in one of its own, driven through `tests/peers/browsers.mjs`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};

use crate::Script;

/// How long a browser may take for one thing, on a machine that does others too.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// Records in a page when each picture of its player is shown.
const RECORD_PICTURES: &str = "(() => {
    const video = document.querySelector('video');
    watched.shown = [];
    const next = () => video.requestVideoFrameCallback((now) => { watched.shown.push(now); next(); });
    next();
})()";

/// Which browser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Browser {
    /// Debian's Chromium.
    Chromium,
    /// Chromium on a machine without camera and microphone.
    ChromiumWithoutDevices,
    /// Chromium of somebody who lends nobody a camera or microphone.
    ChromiumThatRefuses,
    /// Chromium with a camera of 640 by 360 pixels and 10 frames a second, several of which two cores can take.
    ChromiumWithASmallCamera,
    /// Chromium with a camera of 1280 by 720 pixels and 15 frames a second, one of which two cores can take in three layers.
    ChromiumWithALargeCamera,
    /// Chromium as wide as a phone (390 by 844), with touch.
    ChromiumOnAPhone,
    /// Debian's Firefox ESR.
    Firefox,
    /// Firefox with a camera as small as [`Browser::ChromiumWithASmallCamera`]'s.
    FirefoxWithASmallCamera,
}

impl Browser {
    const fn name(self) -> &'static str {
        match self {
            Self::Chromium => "chromium",
            Self::ChromiumWithoutDevices => "chromium-without-devices",
            Self::ChromiumThatRefuses => "chromium-that-refuses",
            Self::ChromiumWithASmallCamera => "chromium-with-a-small-camera",
            Self::ChromiumWithALargeCamera => "chromium-with-a-large-camera",
            Self::ChromiumOnAPhone => "chromium-on-a-phone",
            Self::Firefox => "firefox",
            Self::FirefoxWithASmallCamera => "firefox-with-a-small-camera",
        }
    }
}

/// The driver of all browsers of a test.
#[derive(Debug)]
pub struct Browsers {
    script: Script,
    commands: u64,
}

impl Browsers {
    /// Starts the driver; browsers start with their pages.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start() -> Result<Self> {
        Ok(Self { script: Script::node("browsers.mjs", &[])?, commands: 0 })
    }

    /// Opens an address in a browser of its own, and calls the page `page` from then on.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn open(&mut self, page: &str, browser: Browser, url: &str) -> Result<()> {
        self.command("open", json!({ "page": page, "browser": browser.name(), "url": url })).await.map(drop)
    }

    /// Goes to another address in the same browser.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn goto(&mut self, page: &str, url: &str) -> Result<()> {
        self.command("goto", json!({ "page": page, "url": url })).await.map(drop)
    }

    /// Runs a script in the page and returns its value.
    ///
    /// # Errors
    /// What the script throws.
    pub async fn evaluate(&mut self, page: &str, script: &str) -> Result<Value> {
        self.command("evaluate", json!({ "page": page, "script": script })).await
    }

    /// Clicks on what a selector finds, once it is there and enabled.
    ///
    /// # Errors
    /// When it does not come.
    pub async fn click(&mut self, page: &str, selector: &str) -> Result<()> {
        self.command("click", json!({ "page": page, "selector": selector })).await.map(drop)
    }

    /// Types into what a selector finds.
    ///
    /// # Errors
    /// When it is not there.
    pub async fn type_into(&mut self, page: &str, selector: &str, text: &str) -> Result<()> {
        self.command("type", json!({ "page": page, "selector": selector, "text": text })).await.map(drop)
    }

    /// Presses a key, by its name in the DOM.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn press(&mut self, page: &str, key: &str) -> Result<()> {
        self.command("press", json!({ "page": page, "key": key })).await.map(drop)
    }

    /// Types on the keyboard, wherever the page takes it.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn write(&mut self, page: &str, text: &str) -> Result<()> {
        self.command("write", json!({ "page": page, "text": text })).await.map(drop)
    }

    /// Returns what the page's newest connection is, and what its statistics say; see `measure` in the driver.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn measure(&mut self, page: &str) -> Result<Value> {
        self.command("measure", json!({ "page": page })).await
    }

    /// Returns the text that a person reads on the page.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn text(&mut self, page: &str) -> Result<String> {
        let text = self.evaluate(page, "document.body.innerText").await?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// Waits until a person reads `wanted` on the page.
    ///
    /// # Errors
    /// When `limit` is over, with the text that stands there.
    pub async fn wait_text(&mut self, page: &str, limit: Duration, wanted: &str) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            let text = self.text(page).await?;
            if text.contains(wanted) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let picture = self.picture(page).await;
                bail!("{page} does not say {wanted:?} but:\n{text}\n{picture}");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until the page's connection is as wanted, and returns the measurement.
    ///
    /// # Errors
    /// When `limit` is over, with the last measurement and what stands on the page.
    pub async fn wait_until(&mut self, page: &str, limit: Duration, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let deadline = Instant::now() + limit;
        loop {
            let found = self.measure(page).await?;
            if wanted(&found) {
                return Ok(found);
            }
            if Instant::now() > deadline {
                let (text, picture) = (self.text(page).await?, self.picture(page).await);
                let errors = self.script.errors();
                bail!("{page}, after {limit:?}: {found:#}\nthe page says:\n{text}\n{picture}\n{errors}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Begins to record when each picture of the page's player is shown.
    ///
    /// # Errors
    /// When there is no player.
    pub async fn record_pictures(&mut self, page: &str) -> Result<()> {
        self.evaluate(page, RECORD_PICTURES).await.map(drop)
    }

    /// Returns the page's clock, in milliseconds.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn clock(&mut self, page: &str) -> Result<f64> {
        self.evaluate(page, "performance.now()").await?.as_f64().context("a page's clock is a number")
    }

    /// Returns the longest time without a new picture since `from_ms` of the page's clock, what has passed since the last
    /// one included, of a page whose pictures are recorded.
    ///
    /// # Errors
    /// When they are not.
    pub async fn longest_standstill(&mut self, page: &str, from_ms: f64) -> Result<Duration> {
        let script = format!(
            "[...watched.shown.filter((at) => at > {from_ms}), performance.now()]
                .reduce(([longest, last], at) => [Math.max(longest, at - last), at], [0, {from_ms}])[0]"
        );
        let longest = self.evaluate(page, &script).await?.as_f64().context("a page's clock is a number")?;
        Ok(Duration::from_secs_f64(longest / 1000.0))
    }

    /// Takes a picture of a page that is not as wanted, and returns where it is kept.
    pub async fn picture(&mut self, page: &str) -> String {
        match self.kept_picture(page).await {
            Ok(path) => format!("a picture of it is in {}", path.display()),
            Err(error) => format!("there is no picture of it: {error:#}"),
        }
    }

    async fn kept_picture(&mut self, page: &str) -> Result<PathBuf> {
        let prefix = format!("sluice-{page}-");
        let path = tempfile::Builder::new().prefix(&prefix).suffix(".png").tempfile()?.into_temp_path().keep()?;
        let _none = self.command("screenshot", json!({ "page": page, "path": path })).await?;
        Ok(path)
    }

    /// Closes a page and its browser.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn close(&mut self, page: &str) -> Result<()> {
        self.command("close", json!({ "page": page })).await.map(drop)
    }

    /// Closes all browsers and ends the driver.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn stop(self) -> Result<()> {
        self.script.leave().await
    }

    async fn command(&mut self, command: &str, mut parameters: Value) -> Result<Value> {
        self.commands += 1;
        let id = self.commands;
        let fields = parameters.as_object_mut().context("parameters are an object")?;
        let _none = fields.insert("id".to_owned(), id.into());
        let _none = fields.insert("command".to_owned(), command.into());
        self.script.say(&parameters).await?;
        let mut answer = self.script.wait_for(COMMAND_LIMIT, |answer| answer.get("id") == Some(&id.into())).await?;
        match answer.get("error").and_then(Value::as_str) {
            Some(error) => Err(anyhow!("{command} {parameters}: {error}\n{}", self.script.errors())),
            None => Ok(answer.get_mut("result").map(Value::take).unwrap_or_default()),
        }
    }
}
