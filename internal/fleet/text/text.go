// Package text says in words what is known of a fleet.
package text

import (
	"fmt"
	"time"

	"github.com/pullgate/pullgate/internal/fleet"
	"github.com/pullgate/pullgate/internal/fleet/peers"
	"github.com/pullgate/pullgate/internal/terminal"
)

// Line is one line about a bucket. Those that belong to the one before have no name.
type Line struct{ Name, Text string }

// Bucket says how the bucket of a gateway fares; nil = there is none.
func Bucket(b *fleet.Status, now time.Time) []Line {
	if b == nil {
		return nil
	}
	state := fmt.Sprintf("%s: %s received, %s sent, %s waiting", b.Name, terminal.Size(b.Received), terminal.Size(b.Sent), terminal.Counted(b.Waiting, "upload"))
	if b.Behind {
		state += ", to be compared"
	}
	lines := []Line{{"bucket", state}}
	add := func(format string, args ...any) { lines = append(lines, Line{"", fmt.Sprintf(format, args...)}) }
	if b.ReadError != "" {
		add("NOT READ%s: %s", since(b.ReadSince, now), b.ReadError)
	}
	if b.WriteError != "" {
		add("NOT WRITTEN%s: %s", since(b.WriteSince, now), b.WriteError)
	}
	if b.OK() && b.LastError != "" {
		add("last failed %s: %s", terminal.Since(b.LastFailed, now), b.LastError)
	}
	if b.Slow > 0 {
		add("first byte within %v, 95 %% within %v, of %v that a read may take", seconds(b.Median), seconds(b.Slow), seconds(b.Budget))
	}
	if !b.Oldest.IsZero() {
		add("the oldest upload waits for %s", terminal.Lasted(now.Sub(b.Oldest)))
	}
	if b.PurgeError != "" {
		add("what other gateways remove is NOT KNOWN: %s", b.PurgeError)
	}
	if !b.PurgesRead.IsZero() {
		add("what other gateways remove was last read %s; %s there", terminal.Since(b.PurgesRead, now), terminal.Counted(b.SharedPins, "pin"))
	}
	if r := b.Report; r != nil {
		held := fmt.Sprintf("all gateways: %s, %s", terminal.Counted(r.Blobs, "blob"), terminal.Size(r.Bytes))
		if b.MaxSize > 0 {
			held += fmt.Sprintf(" of %s (max_size)", terminal.Size(b.MaxSize))
		}
		if r.PinnedBytes > 0 {
			held += fmt.Sprintf(", %s of it pinned", terminal.Size(r.PinnedBytes))
		}
		add("%s; cleaned %s ago, %s removed, %s", held, terminal.Lasted(now.Sub(r.Ended)), terminal.Counted(r.Removed, "object"), terminal.Size(r.RemovedBytes))
		if r.Over {
			add("pinned images exceed max_size by themselves")
		}
	}
	if c := b.Cleaning; c != nil {
		add("being cleaned: %s, %s", c.Step, terminal.Counted(c.Objects, "object"))
	}
	if b.CleanError != "" {
		add("NOT CLEANED: %s", b.CleanError)
	}
	return lines
}

// since says since when something is so, if that is known.
func since(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	return " for " + terminal.Lasted(now.Sub(t))
}

func seconds(n float64) time.Duration {
	return time.Duration(n * float64(time.Second)).Round(time.Millisecond / 10)
}

// Peers says who of a fleet lives, and why others do not; nil = there are none.
func Peers(p *peers.Status, now time.Time) []Line {
	if p == nil {
		return nil
	}
	lines := []Line{{"peers", fmt.Sprintf("%d alive; %s, %s received; %s, %s sent", p.Alive(),
		terminal.Counted(p.Asked, "question"), terminal.Size(p.Received), terminal.Counted(p.Answered, "answer"), terminal.Size(p.Sent))}}
	add := func(format string, args ...any) { lines = append(lines, Line{"", fmt.Sprintf(format, args...)}) }
	for _, m := range p.Members {
		add("%s %s", m.Address, member(m, now))
	}
	if p.LookUpError != "" {
		add("other gateways are NOT FOUND: %s", p.LookUpError)
	}
	return lines
}

// member says how one address fares.
func member(m peers.MemberStatus, now time.Time) string {
	switch m.State {
	case peers.StateSelf:
		return "is this gateway"
	case peers.StateSilent:
		return "SILENT" + since(m.Since, now) + ": " + m.Error
	case peers.StateOther:
		return "is another address of a gateway"
	case peers.StateAlive, peers.StateDraining:
		line := m.State + since(m.Since, now)
		if m.State == peers.StateDraining {
			line = "about to end"
		}
		if m.Version != "" {
			line += ", " + m.Version
		}
		if m.ClockAhead != 0 {
			line += fmt.Sprintf(", its clock is off by %+gs", m.ClockAhead)
		}
		if m.LastError != "" {
			line += fmt.Sprintf(", last silent %s (%s)", terminal.Since(m.LastFailed, now), m.LastError)
		}
		return line
	}
	return "has not answered yet"
}

// Synced says what was compared with a bucket.
func Synced(s fleet.Synced) string {
	line := fmt.Sprintf("%s blobs, %s proofs, %s tags compared; %s brought, %s",
		terminal.Number(s.Blobs), terminal.Number(s.Links), terminal.Number(s.Tags), terminal.Counted(s.Uploaded, "object"), terminal.Size(s.Bytes))
	if s.Failed > 0 {
		line += fmt.Sprintf("; %s not", terminal.Number(s.Failed))
	}
	return line
}

// Purged says, after what went from a gateway, what went from all; nil = there is but one.
func Purged(p *fleet.Purged, verb string) string {
	if p == nil {
		return ""
	}
	return fmt.Sprintf("; on all gateways, %s and %s %s", terminal.Counted(p.Tags, "tag"), terminal.Counted(p.Proofs, "proof"), verb)
}
