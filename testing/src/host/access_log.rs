//! Log lines like a web server's, the same for the same seed.

/// An endless, seeded access log in the combined format; lines of 130 to 260 bytes without a newline.
pub struct AccessLog {
    state: u64,
    seconds: u64,
}

impl AccessLog {
    pub fn new(seed: u64) -> AccessLog {
        AccessLog { state: seed, seconds: 0 }
    }

    /// SplitMix64 (https://prng.di.unimi.it/splitmix64.c): small, and good enough for picking words from lists.
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random() % bound
    }

    fn one_of(&mut self, words: &[&'static str]) -> &'static str {
        let index = self.below(words.len() as u64);
        words.iter().copied().nth(index as usize).unwrap_or_default()
    }
}

impl Iterator for AccessLog {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        self.seconds += self.below(2);
        let (hours, minutes, seconds) = (self.seconds / 3600 % 24, self.seconds / 60 % 60, self.seconds % 60);
        let address = (self.below(223) + 1, self.below(256), self.below(256), self.below(254) + 1);
        let method = self.one_of(&["GET", "GET", "GET", "GET", "POST", "HEAD", "PUT"]);
        let path =
            self.one_of(&["/", "/api/v1/orders", "/static/app.js", "/cart/checkout", "/search", "/images/größe.png"]);
        let query = self.below(1_000_000_000);
        let status = self.one_of(&["200", "200", "200", "200", "304", "404", "499", "500", "503"]);
        let bytes = self.below(500_000);
        let referer = self.one_of(&["-", "https://www.example.com/", "https://www.example.com/products?page=2"]);
        let agent = self.one_of(&[
            "curl/8.5.0",
            "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)",
        ]);
        let (a, b, c, d) = address;
        Some(format!(
            "{a}.{b}.{c}.{d} - - [10/Oct/2025:{hours:02}:{minutes:02}:{seconds:02} +0000] \
             \"{method} {path}?id={query} HTTP/1.1\" {status} {bytes} \"{referer}\" \"{agent}\""
        ))
    }
}
