# make -f nostale.mk O=../build       in a kernel tree: build vmlinux.o, then check every path of it
# make -f nostale.mk O=../build keep  call this build the old one, to compare the next with it
O ?= .
VMLINUX_O ?= $(O)/vmlinux.o
KNOWN ?= nostale.toml
NOSTALE ?= nostale

.PHONY: nostale gained keep
nostale: $(VMLINUX_O)
	@$(NOSTALE) lint --baseline $(KNOWN) $<

gained: $(VMLINUX_O)
	@$(NOSTALE) lint --diff $(VMLINUX_O).old $<

keep: $(VMLINUX_O)
	@cp $< $(VMLINUX_O).old

# The object before the last link: its annotations are gone from vmlinux.
$(O)/vmlinux.o: FORCE
	$(MAKE) O=$(O) vmlinux_o

FORCE:
