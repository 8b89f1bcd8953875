package operate

import (
	"context"
	"errors"

	"github.com/pullgate/pullgate/internal/fleet"
)

// SyncRequest brings what one store has, or all in turn, to the bucket that it shares.
type SyncRequest struct{ Path string }

// Parameters returns the query.
func (q *SyncRequest) Parameters() Parameters { return Parameters{"path": text(&q.Path)} }

var errSyncOffline = errors.New("no server has the storage open, and only a server has the bucket: start it first")

// Sync implements Gateway.
func (l *Local) Sync(ctx context.Context, q SyncRequest, tell func(SyncLine)) error {
	return all(l, q.Path, tell, func(s *Store, progress func(fleet.Synced)) (fleet.Synced, error) {
		if s.Fleet == nil {
			return fleet.Synced{}, errSyncOffline
		}
		return s.Fleet.Sync(ctx, progress)
	})
}

// Sync implements Gateway.
func (c *Client) Sync(ctx context.Context, q SyncRequest, tell func(SyncLine)) error {
	return askStores(ctx, c, SyncPath, q.Parameters(), nil, tell)
}
