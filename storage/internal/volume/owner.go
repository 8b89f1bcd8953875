package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// othersWrite are the permissions that let others than the owner write.
const othersWrite fs.FileMode = 0o022

// checkOwner refuses a directory that others may write to: what they put there would
// be served. It says what to do about it. uid is who this process is.
func checkOwner(root osFiles, uid int) error {
	info, err := root.Stat(".")
	if err != nil {
		return err
	}
	owner, group, known := ownerOf(info)
	if known && owner != uid && !ownedAlike(root, owner) {
		return fmt.Errorf("directory belongs to user %d, and this process is user %d: run `chown -R %d:%d %s`, "+
			"or run the process as user %d (group %d), or name a directory that does not exist yet",
			owner, uid, uid, os.Getegid(), quote(root.Name()), owner, group)
	}
	if mode := info.Mode().Perm(); known && mode&othersWrite != 0 {
		return fmt.Errorf("directory can be written by others than its owner (mode %04o): run `chmod go-w %s`, "+
			"or name a directory below it that does not exist yet", mode, quote(root.Name()))
	}
	return nil
}

// ownedAlike reports whether what we make in a directory belongs to its owner. Some file
// systems give all to one user, whoever asks: NFS to nobody what is root's, others to
// whom they were mounted for.
func ownedAlike(root osFiles, owner int) bool {
	const name = VersionFile + Temporary
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return false
	}
	info, err := f.Stat()
	f.Close()
	if err := errors.Join(err, root.Remove(name)); err != nil {
		return false
	}
	ours, _, _ := ownerOf(info)
	return ours == owner
}

// quote makes a path one word of a shell.
func quote(path string) string {
	word := []byte("'")
	plain := true
	for _, b := range []byte(path) {
		switch {
		case b == '\'':
			word, plain = append(word, `'\''`...), false
			continue
		case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b >= '0' && b <= '9':
		case b == '/', b == '.', b == '-', b == '_', b == ':', b == '@', b >= 0x80:
		default:
			plain = false
		}
		word = append(word, b)
	}
	if plain {
		return path
	}
	return string(append(word, '\''))
}
