"""Numbers of Linux system calls, (x86_64, aarch64), from asm/unistd_64.h and asm-generic/unistd.h. None: there is no such call."""

NUMBERS: dict[str, tuple[int | None, int | None]] = {
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "accept": (43, 202), "accept4": (288, 242),
    "timer_create": (222, 107), "ptrace": (101, 117), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "process_madvise": (440, 440), "process_mrelease": (448, 448), "pidfd_getfd": (438, 438),
    "kcmp": (312, 272), "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "shmdt": (67, 197), "semget": (64, 190),
    "semop": (65, 193), "semctl": (66, 191), "semtimedop": (220, 192), "msgget": (68, 186), "msgsnd": (69, 189),
    "msgrcv": (70, 188), "msgctl": (71, 187), "mq_open": (240, 180), "mq_unlink": (241, 181), "mq_timedsend": (242, 182),
    "mq_timedreceive": (243, 183), "mq_notify": (244, 184), "mq_getsetattr": (245, 185), "keyctl": (250, 219),
    "add_key": (248, 217), "request_key": (249, 218), "bpf": (321, 280), "perf_event_open": (298, 241),
    "userfaultfd": (323, 282), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432),
    "fspick": (433, 433), "mount_setattr": (442, 442), "unshare": (272, 97), "setns": (308, 268), "settimeofday": (164, 170),
    "clock_settime": (227, 112), "adjtimex": (159, 171), "clock_adjtime": (305, 266), "chmod": (90, None), "fchmod": (91, 52),
    "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None), "lchown": (94, None), "fchown": (93, 55),
    "fchownat": (260, 54), "utime": (132, None), "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "removexattr": (197, 14), "lremovexattr": (198, 15),
    "fremovexattr": (199, 16), "swapon": (167, 224), "swapoff": (168, 225), "reboot": (169, 142), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "acct": (163, 89), "quotactl": (179, 60), "quotactl_fd": (443, 443), "sethostname": (170, 161), "setdomainname": (171, 162),
    "iopl": (172, None), "ioperm": (173, None), "syslog": (103, 116), "vhangup": (153, 58), "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265), "fanotify_init": (300, 262), "fanotify_mark": (301, 263), "lookup_dcookie": (212, 18),
    "migrate_pages": (256, 238), "mknod": (133, None), "mknodat": (259, 33), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "clone3": (435, 435), "clone": (56, 220),
    "socketpair": (53, 199), "setpriority": (141, 140), "ioprio_set": (251, 30), "prlimit64": (302, 261), "ioctl": (16, 29),
    "sendto": (44, 206), "truncate": (76, 45), "getpid": (39, 172), "sched_setaffinity": (203, 122), "kill": (62, 129),
    "capset": (126, 91), "landlock_create_ruleset": (444, 444), "landlock_add_rule": (445, 445),
    "landlock_restrict_self": (446, 446), "seccomp": (317, 277), "prctl": (157, 167), "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424), "memfd_create": (319, 279), "execveat": (322, 281), "modify_ldt": (154, None),
    "setxattrat": (463, 463), "removexattrat": (466, 466), "open_tree_attr": (467, 467), "file_setattr": (469, 469),
    "fcntl": (72, 25), "mincore": (27, 232), "cachestat": (451, 451), "preadv2": (327, 286), "pwritev2": (328, 287),
    "fadvise64": (221, 223), "readahead": (187, 213), "madvise": (28, 233), "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118), "sched_setattr": (314, 274), "inotify_init": (253, None), "inotify_init1": (294, 26),
    "inotify_add_watch": (254, 27), "mbind": (237, 235), "move_pages": (279, 239), "io_setup": (206, 0), "getsockopt": (55, 209),
    "setsockopt": (54, 208), "pipe2": (293, 59), "open": (2, None), "openat": (257, 56), "openat2": (437, 437), "creat": (85, None),
    "access": (21, None), "faccessat": (269, 48), "faccessat2": (439, 439), "stat": (4, None), "lstat": (6, None),
    "newfstatat": (262, 79), "statx": (332, 291), "statfs": (137, 43), "readlink": (89, None), "readlinkat": (267, 78),
    "execve": (59, 221), "chdir": (80, 49), "mkdir": (83, None), "mkdirat": (258, 34), "rmdir": (84, None), "unlink": (87, None),
    "unlinkat": (263, 35), "rename": (82, None), "renameat": (264, 38), "renameat2": (316, 276), "link": (86, None),
    "linkat": (265, 37), "symlink": (88, None), "symlinkat": (266, 36), "getxattr": (191, 8), "lgetxattr": (192, 9),
    "getxattrat": (464, 464), "listxattr": (194, 11), "llistxattr": (195, 12), "listxattrat": (465, 465),
    "file_getattr": (468, 468), "uselib": (134, None), "setsid": (112, 157), "pipe": (22, None), "vfork": (58, None),
    "getdents": (78, None), "getdents64": (217, 61),
    "fork": (57, None), "flock": (73, 32), "recvmsg": (47, 212), "recvmmsg": (299, 243), "close_range": (436, 436),
    "mmap": (9, 222),
}  # fmt: skip

# uname's machine: (column above, AUDIT_ARCH_* of linux/audit.h)
ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}


def number(name: str, machine: str) -> int | None:
    return NUMBERS[name][ARCHITECTURES[machine][0]]


def present(name: str, machine: str) -> int:
    """The number of a call that every machine of ARCHITECTURES has."""
    call_number = number(name, machine)
    assert call_number is not None, f"{machine} has no {name}"
    return call_number
