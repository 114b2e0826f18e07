//! What a map and its views may do: the access modes, the rights of a handle, and the two matrices.
//!
//! Numbers are those of .NET's enumerations (and of the Windows kernel's section rights). Relies on nothing;
//! `map` and `sys` rely on it.

use std::fmt;
use std::ops::BitOr;

/// What a map or a view may do with the bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Access {
    /// Read and write.
    #[default]
    ReadWrite = 0,
    /// Read only.
    Read = 1,
    /// Write only: views only, and a rule that this library keeps; the hardware can read such pages.
    Write = 2,
    /// Read and write; what is written is seen by this view alone and is lost with it.
    CopyOnWrite = 3,
    /// Read and execute.
    ReadExecute = 4,
    /// Read, write and execute.
    ReadWriteExecute = 5,
}

impl Access {
    /// All six.
    pub const ALL: [Self; 6] = [
        Self::ReadWrite,
        Self::Read,
        Self::Write,
        Self::CopyOnWrite,
        Self::ReadExecute,
        Self::ReadWriteExecute,
    ];

    /// Whether bytes can be read through such a view.
    pub const fn can_read(self) -> bool {
        !matches!(self, Self::Write)
    }

    /// Whether bytes can be written through such a view.
    pub const fn can_write(self) -> bool {
        !matches!(self, Self::Read | Self::ReadExecute)
    }

    /// Whether such a view may hold code.
    pub const fn can_execute(self) -> bool {
        matches!(self, Self::ReadExecute | Self::ReadWriteExecute)
    }

    /// Whether a write through such a view reaches the other views.
    pub(crate) const fn writes_shared(self) -> bool {
        self.can_write() && !matches!(self, Self::CopyOnWrite)
    }

    /// Whether a map with this access can have a view with access `view`.
    pub const fn allows_view(self, view: Self) -> bool {
        use Access::{CopyOnWrite, Read, ReadExecute, ReadWrite, ReadWriteExecute, Write};
        match self {
            Write => false,
            Read | CopyOnWrite => matches!(view, Read | CopyOnWrite),
            ReadWrite => matches!(view, Read | Write | ReadWrite | CopyOnWrite),
            ReadExecute => matches!(view, Read | CopyOnWrite | ReadExecute),
            ReadWriteExecute => true,
        }
    }

    /// The rights that a handle to a map made with this access has.
    pub(crate) const fn rights(self) -> Rights {
        match self {
            Self::ReadWrite => Rights::READ_WRITE,
            Self::Read => Rights::READ,
            Self::Write => Rights::WRITE,
            // A copy-on-write map is read; only its views are private.
            Self::CopyOnWrite => Rights(Rights::READ.0 | Rights::COPY_ON_WRITE.0),
            Self::ReadExecute => Rights::READ_EXECUTE,
            Self::ReadWriteExecute => Rights::READ_WRITE_EXECUTE,
        }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::ReadWrite => "read-write",
            Self::Read => "read",
            Self::Write => "write",
            Self::CopyOnWrite => "copy-on-write",
            Self::ReadExecute => "read-execute",
            Self::ReadWriteExecute => "read-write-execute",
        })
    }
}

/// What a handle to an existing map may do: a set of flags, joined with `|`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rights(u32);

impl Rights {
    /// Bare copy-on-write; grants no view by itself, as in .NET.
    pub const COPY_ON_WRITE: Self = Self(1);
    /// Write.
    pub const WRITE: Self = Self(2);
    /// Read.
    pub const READ: Self = Self(4);
    /// Read and write.
    pub const READ_WRITE: Self = Self(6);
    /// Execute; grants no view by itself.
    pub const EXECUTE: Self = Self(8);
    /// Read and execute.
    pub const READ_EXECUTE: Self = Self(12);
    /// Read, write and execute.
    pub const READ_WRITE_EXECUTE: Self = Self(14);
    /// Delete; accepted, grants no view.
    pub const DELETE: Self = Self(0x1_0000);
    /// Read the security descriptor; accepted, grants no view.
    pub const READ_PERMISSIONS: Self = Self(0x2_0000);
    /// Change the security descriptor; accepted, grants no view.
    pub const CHANGE_PERMISSIONS: Self = Self(0x4_0000);
    /// Take ownership; accepted, grants no view.
    pub const TAKE_OWNERSHIP: Self = Self(0x8_0000);
    /// All of the above.
    pub const FULL_CONTROL: Self = Self(0xF_000F);
    /// The audit list: needs a privilege that programs don't hold, so opening with it is refused.
    pub const ACCESS_SYSTEM_SECURITY: Self = Self(0x100_0000);

    /// The flags as a number (.NET's `MemoryMappedFileRights`).
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether all of `other`'s flags are in `self`.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether a handle with these rights can have a view with access `view`.
    pub const fn allows_view(self, view: Access) -> bool {
        match view {
            Access::Read | Access::CopyOnWrite => self.contains(Self::READ),
            // Write implies read for the hardware; .NET lets a handle with Write alone have both.
            Access::Write | Access::ReadWrite => self.contains(Self::WRITE),
            Access::ReadExecute => self.contains(Self::READ_EXECUTE),
            Access::ReadWriteExecute => self.contains(Self::READ_WRITE_EXECUTE),
        }
    }
}

impl BitOr for Rights {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}
