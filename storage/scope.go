package storage

import (
	"context"

	"github.com/pullgate/pullgate/storage/internal/index"
)

// names looks at the names of scopes.
func (f *forgetting) names(ctx context.Context) error {
	return f.each(ctx, index.TableScope, func(key, _ []byte) error {
		scope, ok := index.ScopeOf(key, "", 2)
		if !ok {
			return nil
		}
		if _, linked := f.scopes[string(index.ScopedPrefix(index.TableLink, scope))]; linked {
			return nil
		}
		return f.s.index.Update(len(key), func(b *index.Batch) error { return b.Unname(scope) })
	})
}
