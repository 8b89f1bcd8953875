// Package text says in words what is known of a fleet.
package text

import (
	"fmt"
	"time"

	"github.com/pullgate/pullgate/internal/fleet"
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
		add("NOT READ: %s", b.ReadError)
	}
	if b.WriteError != "" {
		add("NOT WRITTEN: %s", b.WriteError)
	}
	if b.PurgeError != "" {
		add("what other gateways remove is NOT KNOWN: %s", b.PurgeError)
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
	return lines
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
