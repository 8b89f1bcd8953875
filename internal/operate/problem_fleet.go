package operate

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/pullgate/pullgate/internal/fleet"
	"github.com/pullgate/pullgate/internal/fleet/peers"
)

const (
	// longUpload is how long an upload may wait until that is worth a word: after an import,
	// there are many.
	longUpload = 15 * time.Minute
	// clockDrift is by how much clocks may differ. Removals are found as long as that is less
	// than ten minutes.
	clockDrift = time.Minute
	// fewSilent is up to how many gateways without an answer are told one by one.
	fewSilent = 3
)

// findings are the problems of a fleet. All of them are minor: pulls go on, by the
// registry if need be.
type findings []Problem

func (f *findings) add(name string, since time.Time, cause, cure string) {
	*f = append(*f, Problem{What: ProblemFleet, Name: name, Minor: true, Since: since, Cause: cause, Cure: cure})
}

// fleetProblems returns what is not well between the gateways at a time.
func (c *StoreStatus) fleetProblems(now time.Time) (found findings) {
	if c.Bucket != nil {
		found.bucket(c.Bucket, now)
	}
	if c.Peers != nil {
		found.peers(c.Peers)
	}
	return found
}

func (f *findings) bucket(b *fleet.Status, now time.Time) {
	cure := cmp.Or(b.Help, "check address, credentials and rights in the option fleet, and whether the bucket has room")
	switch {
	case b.ReadError != "" && b.WriteError != "":
		f.add(b.Name, b.ReadSince, "the bucket is neither read nor written, so that what other gateways have is pulled again, and what they remove is not known: "+b.ReadError, cure)
	case b.ReadError != "":
		f.add(b.Name, b.ReadSince, "the bucket is not read, so that what other gateways have is pulled again, and what they remove is not known: "+b.ReadError, cure)
	case b.WriteError != "":
		f.add(b.Name, b.WriteSince, "the bucket is not written, so that other gateways do not find there what this one pulls: "+b.WriteError, cure)
	}
	if b.ReadError == "" && b.PurgeError != "" {
		f.add(b.Name, b.PurgesRead, "it is not known what other gateways remove, so that this one serves it on: "+b.PurgeError, "give the keys of the option fleet the right to list objects, too; "+cure)
	}
	if b.WriteError == "" && !b.Oldest.IsZero() && now.Sub(b.Oldest) > longUpload {
		f.add(b.Name, b.Oldest, fmt.Sprintf("uploads wait for long, %d of them, so that other gateways do not find there what this one has pulled", b.Waiting),
			"see whether the link to the S3 server is full, or the log of this gateway tells of uploads that failed; else it is only much, and goes on")
	}
	if b.CleanError != "" {
		f.add(b.Name, b.CleanFailed, "the bucket was not cleaned, and grows: "+b.CleanError, "give the keys of the option fleet the rights to list, get, put and delete objects; it is tried again")
	}
	if r := b.Report; r != nil && r.Over {
		f.add(b.Name, r.Ended, "pinned images exceed the max_size of the bucket by themselves", "pullgate mirror unpin what may go, or raise max_size in the option fleet")
	}
}

func (f *findings) peers(p *peers.Status) {
	var silent []peers.MemberStatus
	for _, m := range p.Members {
		if m.State == peers.StateSilent {
			silent = append(silent, m)
		}
		if ahead := time.Duration(m.ClockAhead * float64(time.Second)); ahead.Abs() >= clockDrift {
			where := "ahead of"
			if ahead < 0 {
				where = "behind"
			}
			f.add(m.Address, time.Time{}, fmt.Sprintf("its clock is %v %s this one's; from ten minutes on, a removal may be missed", ahead.Abs(), where), "have both machines set their clocks by NTP, such as with chrony")
		}
	}
	f.silent(silent)
	if p.LookUpError != "" {
		f.add("", time.Time{}, "other gateways are not found: "+p.LookUpError, "correct the names in the option peers, or their DNS; until then, those that were found are asked on")
	}
}

// silent tells who gives no answer: one by one if these are few.
func (f *findings) silent(all []peers.MemberStatus) {
	if len(all) <= fewSilent {
		for _, m := range all {
			f.add(m.Address, m.Since, "no gateway answers there: "+cmp.Or(m.Error, m.LastError), m.Help)
		}
		return
	}
	var names []string
	for _, m := range all[:fewSilent] {
		names = append(names, m.Address)
	}
	f.add("", all[0].Since, fmt.Sprintf("no gateway answers at %d addresses, %s and others: %s", len(all), strings.Join(names, ", "), cmp.Or(all[0].Error, all[0].LastError)), all[0].Help)
}
