//! Module `k8s_gateway`: the directory of masters.

use chain::abi::abort::Abort;
use chain::abi::gateway::{LONGEST_URL, MOST_MASTERS};
use chain::abi::{
    AdminCap, Enclave, EnclaveConfig, MasterDirectory, MasterInfo, MasterListed, MasterRemoved,
    Pool,
};
use sui_sdk_types::Address;

use super::{assert_admin, assert_current, emit, enclave, object, require, wrong};
use crate::execution::{Arg, Scope, Stop};

pub(super) fn list_master(scope: &mut Scope<'_, '_>, arguments: &mut [Arg]) -> Result<(), Stop> {
    const PREFIX: &str = "https://";
    let mut directory: MasterDirectory = object(arguments, 0)?.read()?;
    let pool: Pool = object(arguments, 1)?.read()?;
    let cap: AdminCap = object(arguments, 2)?.read()?;
    let config: EnclaveConfig = object(arguments, 3)?.read()?;
    let enclave: Enclave = object(arguments, 4)?.read()?;
    let [.., Arg::Text(url)] = &*arguments else {
        return Err(wrong(5));
    };
    assert_directory_admin(&directory, &pool, &cap)?;
    require(config.pool == directory.pool, &Abort::DIRECTORY_WRONG_POOL)?;
    enclave::assert_counts(&config, &enclave)?;
    require(
        url.len() > PREFIX.len() && url.len() <= LONGEST_URL && url.starts_with(PREFIX),
        &Abort::INVALID_URL,
    )?;
    require(
        directory.masters.len() < MOST_MASTERS,
        &Abort::TOO_MANY_MASTERS,
    )?;
    require(
        find(&directory, enclave.id).is_none(),
        &Abort::ALREADY_LISTED,
    )?;
    let listed = MasterListed {
        directory: directory.id,
        enclave: enclave.id,
        url: url.clone(),
        public_key: enclave.public_key.clone(),
        tls_key_sha256: enclave.tls_key_sha256.clone(),
    };
    directory.masters.push(MasterInfo {
        url: url.clone(),
        enclave: enclave.id,
        public_key: enclave.public_key,
        tls_key_sha256: enclave.tls_key_sha256,
    });
    object(arguments, 0)?.write(&directory)?;
    emit(scope, &listed)
}

pub(super) fn remove_master(scope: &mut Scope<'_, '_>, arguments: &mut [Arg]) -> Result<(), Stop> {
    let directory: MasterDirectory = object(arguments, 0)?.read()?;
    let pool: Pool = object(arguments, 1)?.read()?;
    let cap: AdminCap = object(arguments, 2)?.read()?;
    let [_, _, _, Arg::Address(enclave)] = &*arguments else {
        return Err(wrong(3));
    };
    let enclave = *enclave;
    assert_directory_admin(&directory, &pool, &cap)?;
    remove(scope, arguments, directory, enclave)
}

pub(super) fn remove_retired_master(
    scope: &mut Scope<'_, '_>,
    arguments: &mut [Arg],
) -> Result<(), Stop> {
    let directory: MasterDirectory = object(arguments, 0)?.read()?;
    let config: EnclaveConfig = object(arguments, 1)?.read()?;
    let enclave: Enclave = object(arguments, 2)?.read()?;
    assert_current(directory.version)?;
    require(config.pool == directory.pool, &Abort::DIRECTORY_WRONG_POOL)?;
    enclave::assert_own(&config, &enclave)?;
    require(
        !enclave::is_current(&config, &enclave),
        &Abort::STILL_CURRENT,
    )?;
    remove(scope, arguments, directory, enclave.id)
}

fn find(directory: &MasterDirectory, enclave: Address) -> Option<usize> {
    directory
        .masters
        .iter()
        .position(|master| master.enclave == enclave)
}

fn remove(
    scope: &mut Scope<'_, '_>,
    arguments: &mut [Arg],
    mut directory: MasterDirectory,
    enclave: Address,
) -> Result<(), Stop> {
    let Some(index) = find(&directory, enclave) else {
        return Err(Stop::Abort(&Abort::NOT_LISTED));
    };
    directory.masters.remove(index);
    object(arguments, 0)?.write(&directory)?;
    emit(
        scope,
        &MasterRemoved {
            directory: directory.id,
            enclave,
        },
    )
}

fn assert_directory_admin(
    directory: &MasterDirectory,
    pool: &Pool,
    cap: &AdminCap,
) -> Result<(), Stop> {
    assert_admin(pool, cap)?;
    assert_current(directory.version)?;
    require(directory.pool == pool.id, &Abort::DIRECTORY_WRONG_POOL)
}
