package operate

import (
	"fmt"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

// quickPull is how long a pull may take without anybody asking why.
const quickPull = time.Second

// Why tells in one sentence what made the pull slow, or fail.
func (p Pull) Why() string {
	took := p.Took()
	switch {
	case p.Result == PullFailed:
		return "It failed: " + strings.TrimSuffix(p.Error, ".") + "."
	case p.Result == PullAborted:
		return fmt.Sprintf("The client left after %s. %s", inSeconds(took.Seconds()), p.slowest(took))
	case took < quickPull:
		return "It was not slow."
	}
	return p.slowest(took)
}

// Took is how long the pull took, or has taken by its phases while it runs.
func (p Pull) Took() time.Duration {
	if p.Ended.IsZero() {
		s := p.Seconds
		return time.Duration((s.LookUp + s.Queue + s.FirstByte + s.Token + s.Transfer + s.Client) * float64(time.Second))
	}
	return p.Ended.Sub(p.Began)
}

// slowest tells what took the most of the time.
func (p Pull) slowest(took time.Duration) string {
	s := p.Seconds
	of := func(part float64) string { return inSeconds(part) + " of " + inSeconds(took.Seconds()) }
	brought := p.Bytes - p.CacheBytes - p.PrefetchedBytes
	reasons := []struct {
		seconds float64
		text    string
	}{
		{s.LookUp, fmt.Sprintf("It took %s to find out what the tag and the manifests are: %s.", of(s.LookUp), p.lookedUp())},
		{s.Token, fmt.Sprintf("The token server of %s took %s.", p.Upstream, of(s.Token))},
		{s.Queue, fmt.Sprintf("Blobs waited %s for other downloads: misses_per_client bounds those of one client, max_fills those of %s.", of(s.Queue), p.Upstream)},
		{s.FirstByte, fmt.Sprintf("It took %s until %s began to send blobs.", of(s.FirstByte), p.Upstream)},
		{s.Transfer, fmt.Sprintf("It took %s to bring %s from %s, at %s/s: its link or the client is no faster.",
			of(s.Transfer), humanize.IBytes(uint64(max(brought, 0))), p.Upstream, humanize.IBytes(perSecond(brought, s.Transfer)))},
		{s.Client, fmt.Sprintf("The client itself took %s: what it got was stored here, and between its requests it did something else.", of(s.Client))},
	}
	worst := reasons[0]
	for _, r := range reasons[1:] {
		if r.seconds > worst.seconds {
			worst = r
		}
	}
	return worst.text
}

// lookedUp tells who was asked for manifests.
func (p Pull) lookedUp() string {
	for _, q := range p.Asked {
		if strings.HasSuffix(q.Op, "_manifest") {
			return fmt.Sprintf("%s answered %d requests for them in %s", p.Upstream, q.Requests, inSeconds(q.Seconds))
		}
	}
	return "the storage was slow, or another client was waiting for " + p.Upstream
}

func perSecond(bytes int64, seconds float64) uint64 {
	if seconds <= 0 {
		return 0
	}
	return uint64(float64(max(bytes, 0)) / seconds)
}

func inSeconds(s float64) string {
	return time.Duration(s * float64(time.Second)).Round(10 * time.Millisecond).String()
}
