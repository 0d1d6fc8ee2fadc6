// Command runc-without-seccomp is the runc beside it, for containers without a seccomp profile.
//
// The kubelet gives each pod's sandbox a profile, which runc can apply only when it is linked with libseccomp:
// a C library that few machines have headers of, and that the tests have no use for.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

func main() {
	self, err := os.Executable()
	check(err)
	if bundle, ok := bundleOf(os.Args[1:]); ok {
		check(dropProfile(filepath.Join(bundle, "config.json")))
	}
	runc := filepath.Join(filepath.Dir(self), "runc")
	check(syscall.Exec(runc, append([]string{runc}, os.Args[1:]...), os.Environ()))
}

// bundleOf finds the folder of a new container in the arguments of "runc create" or "runc run".
func bundleOf(arguments []string) (string, bool) {
	for i, argument := range arguments {
		if value, ok := strings.CutPrefix(argument, "--bundle="); ok {
			return value, true
		}
		if argument == "--bundle" && i+1 < len(arguments) {
			return arguments[i+1], true
		}
	}
	return "", false
}

// dropProfile removes linux.seccomp from an OCI runtime specification and leaves all else as it is.
func dropProfile(path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var specification, linux map[string]json.RawMessage
	if err := json.Unmarshal(content, &specification); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := json.Unmarshal(specification["linux"], &linux); err != nil {
		return fmt.Errorf("%s: linux: %w", path, err)
	}
	delete(linux, "seccomp")
	if specification["linux"], err = json.Marshal(linux); err != nil {
		return err
	}
	if content, err = json.Marshal(specification); err != nil {
		return err
	}
	return os.WriteFile(path, content, 0o600)
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "runc-without-seccomp:", err)
		os.Exit(1)
	}
}
