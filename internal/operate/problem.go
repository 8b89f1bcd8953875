package operate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pullgate/pullgate/storage"
)

// Problem is something that is not well with a gateway, for people.
type Problem struct {
	// What is upstream, storage or fleet, and Name says which; of a fleet, the bucket or the
	// address of a gateway.
	What string `json:"what"`
	Name string `json:"name"`
	// Minor says that pulls go on as before: something to know, or to be done soon.
	Minor bool      `json:"minor,omitempty"`
	Since time.Time `json:"since,omitzero"`
	// Cause is a sentence, and Cure the command or the setting that helps.
	Cause string `json:"cause"`
	Cure  string `json:"cure"`
}

// What a Problem may be about.
const (
	ProblemUpstream = "upstream"
	ProblemStorage  = "storage"
	ProblemFleet    = "fleet"
)

const (
	// scarceDisk is the share of a disk that should stay free: the index needs room,
	// and whatever else writes there.
	scarceDisk = 0.05
	// scarcePulls is the share of a rate limit that is worth a word.
	scarcePulls = 0.1
)

// Problems returns what is not well, what stops pulls first.
func Problems(s Status) []Problem {
	problems := []Problem{}
	if s.Server != nil && len(s.Storage) == 0 {
		problems = append(problems, Problem{What: ProblemStorage, Cause: "no storage is open", Cure: "look into the log for the reason, then reload the configuration"})
	}
	for _, c := range s.Storage {
		problems = append(append(problems, c.problems()...), c.fleetProblems(s.Time)...)
	}
	well := map[string]bool{} // upstreams of which one URL at least is
	for _, u := range s.Upstreams {
		well[u.Name] = well[u.Name] || u.State == StateOK
	}
	for _, u := range s.Upstreams {
		problems = append(problems, u.problems(well[u.Name])...)
	}
	slices.SortStableFunc(problems, func(a, b Problem) int {
		switch {
		case a.Minor == b.Minor:
			return 0
		case a.Minor:
			return 1
		}
		return -1
	})
	return problems
}

// Well reports whether pulls are served and cached, and every upstream is asked.
func Well(s Status) bool {
	return !slices.ContainsFunc(Problems(s), func(p Problem) bool { return !p.Minor }) &&
		!slices.ContainsFunc(s.Upstreams, func(u UpstreamStatus) bool { return u.State != StateOK })
}

func (c *StoreStatus) problems() (problems []Problem) {
	add := func(minor bool, cause, cure string) {
		problems = append(problems, Problem{What: ProblemStorage, Name: c.Path, Minor: minor, Cause: cause, Cure: cure})
	}
	if !c.IndexOpen {
		add(false, "the index is not open, so that pulls pass through and nothing is cached: "+cmp.Or(c.IndexError, "the reason is not known"),
			"make room on the disk, then restart; if the index is damaged: pullgate mirror fsck --rebuild")
	}
	if c.IndexRebuilds > 0 {
		add(true, "the index was damaged and begun anew: "+c.IndexError, "check the disk and the memory of this machine; pullgate mirror fsck --verify looks at what is cached")
	}
	if c.Overpinned {
		add(false, "pinned images exceed the limits by themselves, so that nothing more is stored", "pullgate mirror unpin what may go, or raise max_size")
	}
	if u := c.Unstored; u != nil {
		add(u.Limit, "blobs are not stored, and pass through with each pull: "+u.Error, cureOf(u))
		problems[len(problems)-1].Since = u.Since
	}
	if c.QuarantinedBlobs > 0 {
		add(true, fmt.Sprintf("%d blobs were damaged and taken out of use", c.QuarantinedBlobs), "check the disk of this machine; pullgate mirror fsck --verify looks at all the rest")
	}
	if share := float64(c.FreeBytes) / float64(max(c.TotalBytes, 1)); c.TotalBytes > 0 && share < scarceDisk {
		add(true, fmt.Sprintf("%.1f %% of the disk are free", 100*share), "free some of it, or set max_size below what the disk has")
	}
	return problems
}

// problems returns what is not well with the URL of an upstream; well says that there is
// another one that is.
func (u *UpstreamStatus) problems(well bool) (problems []Problem) {
	p := Problem{What: ProblemUpstream, Name: u.Name, Minor: well, Since: u.Since}
	if u.State != StateOK {
		p.Cause = u.Error
		if p.Cause == "" {
			p.Cause = u.URL + " is " + strings.ReplaceAll(u.State, "_", " ")
		}
		p.Cure = u.Help
		return append(problems, p)
	}
	if l := u.RateLimit; l != nil && l.Limit > 0 && float64(l.Remaining) < scarcePulls*float64(l.Limit) {
		p.Minor, p.Since = true, time.Time{}
		p.Cause = fmt.Sprintf("%d of %d pulls are left by its rate limit", l.Remaining, l.Limit)
		p.Cure = "give the upstream credentials of an account with a higher limit, or a longer tag_ttl, which asks less often"
		problems = append(problems, p)
	}
	return problems
}

// cureOf tells what makes room for a blob.
func cureOf(u *storage.Unstored) string {
	if u.Limit {
		return "raise max_size, or pin less: pullgate mirror pins"
	}
	return "see what else fills the disk; pullgate mirror rm, or a smaller max_size, makes room before"
}
