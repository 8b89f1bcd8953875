package fleet

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/pullgate/pullgate/internal/oci"
)

// expire removes what has come to the bucket late, and is not newer than purges that are
// about to go: a gateway that is new then would not know of them.
func (l *purgeLog) expire(ctx context.Context, keys []string) error {
	within := map[oci.Selection]bool{}
	for _, key := range keys {
		key = strings.TrimPrefix(key, purgesAt)
		p, err := l.readPurge(ctx, key)
		if err != nil {
			return err
		}
		if !l.knows(ctx, key) {
			return fmt.Errorf("purge %s is not known here", key)
		}
		if p.Selection != "" {
			within[oci.Selection{Upstream: p.selection.Upstream, Repository: p.selection.Repository}] = true
		}
	}
	for sel := range within {
		group, expiring := errgroup.WithContext(ctx)
		group.SetLimit(deleters)
		plan := purgePlan{depot: l.depot, sel: sel}
		err := plan.each(expiring, func(scope oci.Scope, name, key string) error {
			group.Go(func() error { return l.dropOutdated(expiring, scope, name, key) })
			return expiring.Err()
		})
		if err := errors.Join(group.Wait(), err); err != nil {
			return err
		}
	}
	return nil
}

// dropOutdated removes a record that is not newer than what is known to be purged.
func (l *purgeLog) dropOutdated(ctx context.Context, scope oci.Scope, name, key string) error {
	var t sharedTag // of which proofs have no more than what their names say
	if !strings.HasPrefix(key, tagsAt) {
		t.Digest, _ = oci.ParseDigest(strings.Replace(name, "-", ":", 1))
		if l.depot.covering(scope, oci.Reference{Digest: t.Digest}) == "" {
			return nil
		}
	}
	ctx, cancel := context.WithTimeout(ctx, writeBudget)
	defer cancel()
	l.depot.counts.reads.Add(1)
	o, err := l.depot.objects.Get(ctx, key, 0, -1)
	if err != nil {
		return failure(err)
	}
	_ = readRecord(o, &t) // one that cannot be read is newer than nothing
	if t.Purge = max(t.Purge, o.Meta[metaPurge]); t.since(l.depot, scope, name) {
		return nil
	}
	return writer{depot: l.depot, fleet: l.fleet}.drop(ctx, key)
}
