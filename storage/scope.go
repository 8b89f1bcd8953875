package storage

import (
	"context"
	"strings"

	"github.com/dgraph-io/badger/v4"

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
func selectScopes(ctx context.Context, txn *badger.Txn, sel oci.Selection) (scopes []oci.Scope, err error) {
	seen := make(map[oci.Scope]struct{})
	for table, names := range map[byte]int{tableScope: 2, tableTag: 3} {
		err := eachKey(ctx, txn, []byte(string(rune(table))+sel.Upstream), func(key []byte) error {
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
func scopeTags(ctx context.Context, txn *badger.Txn, scope oci.Scope, fn func(name string, key, value []byte) error) error {
	prefix, err := tagKey(scope, "")
	if err != nil {
		return err
	}
	it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		key := it.Item().KeyCopy(nil)
		err := it.Item().Value(func(v []byte) error { return fn(string(key[len(prefix):]), key, v) })
		if err != nil {
			return err
		}
	}
	return nil
}

// eachKey calls fn for each key with the prefix. fn does not keep it.
func eachKey(ctx context.Context, txn *badger.Txn, prefix []byte, fn func(key []byte) error) error {
	it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := fn(it.Item().Key()); err != nil {
			return err
		}
	}
	return nil
}

// name records a scope.
func (b *batch) name(scope oci.Scope, hour useRecord) error {
	if err := checkScope(scope); err != nil {
		return err
	}
	key := scopeKey(scope)
	if raw, err := get(b.txn, key); err == nil {
		if _, ok := decodeUse(raw); ok {
			return nil
		}
	}
	return b.set(key, hour.encode())
}

// unname drops the record of a scope that has neither links nor tags.
func (b *batch) unname(scope oci.Scope) error {
	tags, err := tagKey(scope, "")
	if err != nil || b.any(tags) || b.any(scopedPrefix(tableLink, scope)) {
		return err
	}
	if _, err := b.txn.Get(scopeKey(scope)); err != nil {
		return nil //nolint:nilerr // it is gone, or cannot be read
	}
	return b.delete(scopeKey(scope))
}

// any reports whether there are records whose keys begin with the prefix.
func (b *batch) any(prefix []byte) bool {
	it := b.txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
	defer it.Close()
	it.Rewind()
	return it.Valid()
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
