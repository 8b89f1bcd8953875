package storage

import (
	"context"
	"strings"

	"github.com/pullgate/pullgate/internal/oci"
)

// scopeKey returns the key of a scope by its names, which the hash in other keys
// does not tell.
func scopeKey(scope oci.Scope) []byte {
	return []byte(string(rune(tableScope)) + scope.Upstream + "\x00" + scope.Repository)
}

// scopeOf returns the scope that a key of so many names begins with, if it is one
// of the upstreams of a name; empty = of all.
func scopeOf(key []byte, upstream string, names int) (oci.Scope, bool) {
	fields := strings.Split(string(key[1:]), "\x00")
	if len(fields) != names || upstream != "" && oci.UpstreamName(fields[0]) != upstream {
		return oci.Scope{}, false
	}
	return oci.Scope{Upstream: fields[0], Repository: fields[1]}, true
}

// selectScopes returns the scopes of a selection: by their names, and by those of tags,
// in case a name could not be read.
func selectScopes(ctx context.Context, txn *Txn, sel oci.Selection) (scopes []oci.Scope, err error) {
	seen := make(map[oci.Scope]struct{})
	for table, names := range map[byte]int{tableScope: 2, tableTag: 3} {
		err := txn.Keys(ctx, []byte(string(rune(table))+sel.Upstream), func(it *Iterator) error {
			key := it.Key()
			scope, ok := scopeOf(key, sel.Upstream, names)
			if _, known := seen[scope]; ok && !known && sel.Has(scope) {
				seen[scope] = struct{}{}
				scopes = append(scopes, scope)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return scopes, nil
}

// scopeTags calls fn for each tag of a scope.
func scopeTags(ctx context.Context, txn *Txn, scope oci.Scope, fn func(name string, key, value []byte) error) error {
	prefix, err := tagKey(scope, "")
	if err != nil {
		return err
	}
	return txn.Each(ctx, prefix, func(key, value []byte) error { return fn(string(key[len(prefix):]), key, value) })
}

// name records a scope.
func (b *batch) name(scope oci.Scope, hour useRecord) error {
	if err := checkScope(scope); err != nil {
		return err
	}
	key := scopeKey(scope)
	if _, ok := Load(b.Txn, key, decodeUse); ok {
		return nil
	}
	return b.set(key, hour.encode())
}

// unname drops the record of a scope that has neither links nor tags.
func (b *batch) unname(scope oci.Scope) error {
	tags, err := tagKey(scope, "")
	if err != nil || b.HasAny(tags) || b.HasAny(scopedPrefix(tableLink, scope)) {
		return err
	}
	if !b.Has(scopeKey(scope)) {
		return nil //nolint:nilerr // it is gone, or cannot be read
	}
	return b.delete(scopeKey(scope))
}

// names looks at the names of scopes.
func (f *forgetting) names(ctx context.Context) error {
	return f.each(ctx, tableScope, func(key, _ []byte) error {
		scope, ok := scopeOf(key, "", 2)
		if !ok {
			return nil
		}
		if _, linked := f.scopes[string(scopedPrefix(tableLink, scope))]; linked {
			return nil
		}
		return f.s.index.update(len(key), func(b *batch) error { return b.unname(scope) })
	})
}
