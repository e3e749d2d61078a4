;;; Names, versions and SHA-256 of the crates in Cargo.lock. Made by scripts/guix-crates.

(define-module (gorget crates)
  #:export (%crates))

(define %crates
  '(
    ("ahash" "0.8.12"
     "5a15f179cd60c4584b8a8c596927aadc462e27f2ca70c04e0071964a73ba7a75")
    ("aho-corasick" "1.1.5"
     "c982642fa9e8606056828ee9a8505737230110bb1099153c79efe865c59d12ba")
    ("alloca" "0.4.0"
     "e5a7d05ea6aea7e9e64d25b9156ba2fee3fdd659e34e41063cd2fc7cd020d7f4")
    ("allocator-api2" "0.2.21"
     "683d7910e743518b0e34f1186f92494becacb047c7b6bf616c96772180fef923")
    ("android_system_properties" "0.1.6"
     "ae221649c9976a6f6c56ae1facf410f3ddb33cc661c4b7b61020a912d4237fbc")
    ("anes" "0.1.6"
     "4b46cbb362ab8752921c97e041f5e366ee6297bd428a31275b9fcf1e380f7299")
    ("annotate-snippets" "0.12.17"
     "b2a5b0a5ab8561c603f16c3b78c24a386b1f70e7fc1b1b1e8c15738828e4a176")
    ("anstream" "1.0.0"
     "824a212faf96e9acacdbd09febd34438f8f711fb84e09a8916013cd7815ca28d")
    ("anstyle" "1.0.14"
     "940b3a0ca603d1eade50a4846a2afffd5ef57a9feac2c0e2ec2e14f9ead76000")
    ("anstyle-parse" "1.0.0"
     "52ce7f38b242319f7cabaa6813055467063ecdc9d355bbb4ce0c68908cd8130e")
    ("anstyle-query" "1.1.5"
     "40c48f72fd53cd289104fc64099abca73db4166ad86ea0b4341abe65af83dadc")
    ("anstyle-wincon" "3.0.11"
     "291e6a250ff86cd4a820112fb8898808a366d8f9f58ce16d1f538353ad55747d")
    ("anyhow" "1.0.104"
     "330a5ed07fa54e4702c9d6c4174f74427fc0ef6e214bbd677ae50a5099946470")
    ("appendlist" "1.4.0"
     "e149dc73cd30538307e7ffa2acd3d2221148eaeed4871f246657b1c3eaa1cbd2")
    ("arbitrary" "1.5.0"
     "3bc62ac97cc33321f50863d514c3bc38a453947a8f9e781137e47c7401020aed")
    ("askama" "0.16.1"
     "6024d73179f43f15ccd2b881bfea6fee7f3a46ec53f33b52210dea749ebebaa4")
    ("askama_derive" "0.16.1"
     "071ee5ebf2138e3ad180e0aacf6940c2cab5e6d8333741d9925c7bee2b153f39")
    ("askama_macros" "0.16.1"
     "643e1c7cbb6aec1d920332fe51a7c0d8219e273dcb8602db03f5263e4d16487b")
    ("askama_parser" "0.16.1"
     "2c5ae75772275d268b03ab8bdccdd12117b6169ee23256942b34e46c9f476583")
    ("atoi" "2.0.0"
     "f28d99ec8bfea296261ca1af174f24225171fea9664ba9003cbebee704810528")
    ("atomic-waker" "1.1.2"
     "1505bd5d3d116872e7271a6d4e16d81d0c8570876c8de68093a09ac269d8aac0")
    ("autocfg" "1.5.1"
     "f2032f911046de80f0a198e0901378627c33f59ea0ac00e363d481118bd70a53")
    ("axum" "0.8.9"
     "31b698c5f9a010f6573133b09e0de5408834d0c82f8d7475a89fc1867a71cd90")
    ("axum-core" "0.5.6"
     "08c78f31d7b1291f7ee735c1c6780ccde7785daae9a9206026862dab7d8792d1")
    ("base64" "0.22.1"
     "72b3254f16251a8381aa12e40e3c4d2f0199f8c6508fbecb9d91f575e0fbb8c6")
    ("base64" "0.23.1"
     "ac07cdecf99051d9a5238b80f35af32cdeba5b336e55d957b318b50137e18da5")
    ("bitflags" "1.3.2"
     "bef38d45163c2f1dde094a7dfd33ccf595c92905c8f8f4fdc18d06fb1037718a")
    ("bitflags" "2.13.2"
     "3ded4057c258ba199e2d26386d3af3780957ecaee6c4ef4041c6b4b8b97c0b06")
    ("block-buffer" "0.10.4"
     "3078c7629b62d3f0439517fa394996acacc5cbc91c5a20d8c658e77abd503a71")
    ("block-buffer" "0.12.1"
     "d2f6c7dbe95a6ed67ad9f18e57daf93a2f034c524b99fd2b76d18fdfeb6660aa")
    ("boon" "0.6.1"
     "baa187da765010b70370368c49f08244b1ae5cae1d5d33072f76c8cb7112fe3e")
    ("borrow-or-share" "0.2.4"
     "dc0b364ead1874514c8c2855ab558056ebfeb775653e7ae45ff72f28f8f3166c")
    ("bumpalo" "3.20.4"
     "87a0cf66fd1eb2fb7b822cb78370d82303750809bc6ba855f3f58e517d3238db")
    ("byteorder" "1.5.0"
     "1fd0f2584146f6f2ef48085050886acf353beff7305ebd1ae69500e27c67f64b")
    ("bytes" "1.12.2"
     "776dfebd015e2d8732c684a2c71003674ccb49457b539b9e82151ba38e96dd7c")
    ("cast" "0.3.0"
     "37b2a672a2cb129a2e41c10b1224bb368f9f37a2b16b612598138befd7b37eb5")
    ("cc" "1.11.3"
     "02f0e023adb368345ce0ca6cdfc0f24a06554468d0e8503e14a0841de79bfa69")
    ("cfg-if" "1.0.5"
     "4e7648175b45a9a48536d676f68d918270699102aa8dab5496df06904c914600")
    ("cfg_aliases" "0.2.2"
     "f079e83a288787bcd14a6aea84cee5c87a67c5a3e660c30f557a3d24761b3527")
    ("chacha20" "0.10.2"
     "65c35e4b699c7e15ccbe7ee35c005e4fc0a278d22238a2857e6ce2dadeda1b06")
    ("chrono" "0.4.45"
     "1aa79e62e7697b8e29b513a68abacf485adcd1fe8284a4316c5ae868e6633327")
    ("ciborium" "0.2.2"
     "42e69ffd6f0917f5c029256a24d0161db17cea3997d185db0d35926308770f0e")
    ("ciborium-io" "0.2.2"
     "05afea1e0a06c9be33d539b876f1ce3692f4afea2cb41f740e7743225ed1c757")
    ("ciborium-ll" "0.2.2"
     "57663b653d948a338bfb3eeba9bb2fd5fcfaecb9e199e87e1eda4d9e8b240fd9")
    ("clap" "4.6.9"
     "844c5c0b65be192cb68d570cca1b21a6444431d24e39c084dc0336177015337c")
    ("clap_builder" "4.6.7"
     "ec0797fb7aeb1406c84efac526901f7ec3ead2124f946b494e72879d4b54704d")
    ("clap_complete" "4.6.11"
     "037e2a1a92236d0aff7e845093f64661d6df4c02c9fcc61a60e9e1d736fa392f")
    ("clap_derive" "4.6.9"
     "b4c174f11f949b9ca8c60580925e282b9cbd5454750e506f08648b2038080cd7")
    ("clap_lex" "1.1.2"
     "e0921b3876b3a1df8a1c9f912e7f94342458022c2e84288015893d83c4d62a79")
    ("clap_mangen" "0.3.3"
     "211d617eaa4b735c96c9e0228fcbdb5120ef623f2b8cb67ffb84c3e02dbc28a4")
    ("cmov" "0.5.4"
     "0c9ea0ac24bc397ab3c98583a3c9ba74fa56b09a4449bbe172b9b1ddb016027a")
    ("cobs" "0.3.0"
     "0fa961b519f0b462e3a3b4a34b64d119eeaca1d59af726fe450bbba07a9fc0a1")
    ("colorchoice" "1.0.5"
     "1d07550c9036bf2ae0c684c4297d503f838287c83c53686d05370d0e139ae570")
    ("comfy-table" "8.0.1"
     "b96a46ad395a5e00676eddaca4a45ed78b29c08be5a878d35e4b071c625637dd")
    ("command-fds" "0.3.3"
     "1b60b5124979fccd9addd89d8b97a1d6eebb4950694520c75ddd722535ea443f")
    ("console" "0.16.6"
     "e96a4956774c13c126a8b5af4daa79384f4d826534c95a02d76afb39e2ab64e3")
    ("const-oid" "0.10.3"
     "be95d4a884358a21a199689323c29e9256b4a1b315e22f183d155422041d3a9a")
    ("core-foundation" "0.10.1"
     "b2a6cd9ae233e7f62ba4e9353e81a88df7fc8a5987b8d445b4d90c879bd156f6")
    ("core-foundation-sys" "0.8.7"
     "773648b94d0e5d620f64f280777445740e61fe701025087ec8b57f45c791888b")
    ("core_detect" "1.0.0"
     "7f8f80099a98041a3d1622845c271458a2d73e688351bf3cb999266764b81d48")
    ("cpufeatures" "0.2.17"
     "59ed5838eebb26a2bb2e58f6d5b5316989ae9d08bab10e0e6d103e656d1b0280")
    ("cpufeatures" "0.3.1"
     "5ca28b0ae3115b884660db4118d803791fd6756b6e88f39c0f3f7859060d7566")
    ("crc" "3.4.0"
     "5eb8a2a1cd12ab0d987a5d5e825195d372001a4094a0376319d5a0ad71c1ba0d")
    ("crc-catalog" "2.5.0"
     "217698eaf96b4a3f0bc4f3662aaa55bdf913cd54d7204591faa790070c6d0853")
    ("criterion" "0.8.2"
     "950046b2aa2492f9a536f5f4f9a3de7b9e2476e575e05bd6c333371add4d98f3")
    ("criterion-plot" "0.8.2"
     "d8d80a2f4f5b554395e47b5d8305bc3d27813bacb73493eb1001e8f76dae29ea")
    ("cron" "0.17.0"
     "a5dcd6f69605c2956916ce24e8af637b754964c9a83f4662d3a2361654cdba09")
    ("crossbeam-queue" "0.3.14"
     "03e8bd762f7479489c70ed6c768ddca99d7296857de437a68dcb2a94365b3fae")
    ("crossbeam-utils" "0.8.23"
     "a31eee39dddec8330830986fcd7625edb5a24ec90ea038215273bbc3adb08ac6")
    ("crossterm" "0.29.0"
     "d8b9f2e4c67f833b660cdb0a3523065869fb35570177239812ed4c905aeff87b")
    ("crossterm_winapi" "0.9.1"
     "acdd7c62a3665c7f6830a51635d9ac9b23ed385797f70a83bb8bafe9c572ab2b")
    ("crunchy" "0.2.4"
     "460fbee9c2c2f33933d720630a6a0bac33ba7053db5344fac858d4b8952d77d5")
    ("crypto-common" "0.1.6"
     "1bfb12502f3fc46cca1bb51ac28df9d618d813cdc3d2f25b9fe775a34af26bb3")
    ("crypto-common" "0.2.2"
     "ce6e4c961d6cd6c9a86db418387425e8bdeaf05b3c8bc1411e6dca4c252f1453")
    ("ctutils" "0.4.8"
     "261af4dc7a06ea8a527a8717d8cbba3417530d6ea14e1edb3de6b67806be474f")
    ("curve25519-dalek" "5.0.0"
     "b5eed333089e2e1c1ac8c6c0398e5e2497b4c9926ca6d0365ed1e099afa5bc23")
    ("curve25519-dalek-derive" "0.1.1"
     "f46882e17999c6cc590af592290432be3bce0428cb0d5f8b6715e4dc7b383eb3")
    ("data-encoding" "2.11.1"
     "4583a4551df46e2792f82ceeac45e850d2e2d5debba0b91f102385cda5b11f06")
    ("digest" "0.10.7"
     "9ed9a281f7bc9b7576e61468ba615a66a5c8cfdff42420a70aa82701a3b1e292")
    ("digest" "0.11.3"
     "f1dd6dbb5841937940781866fa1281a1ff7bd3bf827091440879f9994983d5c2")
    ("displaydoc" "0.2.7"
     "c6232dd377dcc64799954cbd3a9bb882e9cdc1308ccd87b1c098f1fb2eaf82a8")
    ("document-features" "0.2.12"
     "d4b8a88685455ed29a21542a33abd9cb6510b6b129abadabdcef0f4c55bc8f61")
    ("dotenvy" "0.15.7"
     "1aaf95b3e5c8f23aa320147307562d361db0ae0d51242340f558153b4eb2439b")
    ("dtoa" "1.0.11"
     "4c3cf4824e2d5f025c7b531afcb2325364084a16806f6d47fbc1f5fbd9960590")
    ("dyn-clone" "1.0.20"
     "d0881ea181b1df73ff77ffaaf9c7544ecc11e82fba9b5f27b262a3c73a332555")
    ("either" "1.19.0"
     "0e9c71c2167ca323c882b99918929403426e2373ea17242ff5653e0d5e1058be")
    ("embedded-io" "0.4.0"
     "ef1a6892d9eef45c8fa6b9e0086428a2cca8491aca8f787c534a3d6d0bcb3ced")
    ("embedded-io" "0.6.1"
     "edd0f118536f44f5ccd48bcb8b111bdc3de888b58c74639dfb034a357d0f206d")
    ("encode_unicode" "1.0.0"
     "34aa73646ffb006b8f5147f3dc182bd4bcb190227ce861fc4a4844bf8e3cb2c0")
    ("enumflags2" "0.7.12"
     "1027f7680c853e056ebcec683615fb6fbbc07dbaa13b4d5d9442b146ded4ecef")
    ("enumflags2_derive" "0.7.12"
     "67c78a4d8fdf9953a5c9d458f9efe940fd97a0cab0941c075a813ac594733827")
    ("equivalent" "1.0.3"
     "00d174d5400e5e8fd687ad1049e2f578285fa914201b1af7e8b112a4546bd826")
    ("errno" "0.3.15"
     "e35d6e78f4cebb90e51d543db8fe41528851d6deeef6ef21ebd4bfdc1e784776")
    ("etcetera" "0.11.0"
     "de48cc4d1c1d97a20fd819def54b890cadde72ed3ad0c614822a0a433361be96")
    ("event-listener" "5.4.2"
     "5a23add41df1562121a9393cb065eab5146a1242410f23a644851e90cfd669d2")
    ("fastrand" "2.5.0"
     "da7c62ceae207dd37ea5b845da6a0696c799f85e97da1ab5b7910be3c1c80223")
    ("fiat-crypto" "0.3.0"
     "64cd1e32ddd350061ae6edb1b082d7c54915b5c672c389143b9a63403a109f24")
    ("find-msvc-tools" "0.1.15"
     "1c66915cc5391097de7a2b0b972e8505aa33c0df401fd3a6811dbdb32881ba48")
    ("fluent-uri" "0.3.2"
     "1918b65d96df47d3591bed19c5cca17e3fa5d0707318e4b5ef2eae01764df7e5")
    ("flume" "0.12.0"
     "5e139bc46ca777eb5efaf62df0ab8cc5fd400866427e56c68b22e414e53bd3be")
    ("foldhash" "0.2.0"
     "77ce24cb58228fbb8aa041425bb1050850ac19177686ea6e0f41a70416f56fdb")
    ("foreign-types" "0.3.2"
     "f6f339eb8adc052cd2ca78910fda869aefa38d22d5cb648e6485e4d3fc06f3b1")
    ("foreign-types-shared" "0.1.1"
     "00b0228411908ca8685dba7fc2cdd70ec9990a6e753e89b6ac91a84c40fbaf4b")
    ("form_urlencoded" "1.2.2"
     "cb4cb245038516f5f85277875cdaa4f7d2c9a0fa0468de06ed190163b1581fcf")
    ("fs-err" "3.3.2"
     "b5c95b673b8f6f7235229ae11c5642d81b04c2e64c1e2fb417bc0cf73ca45f29")
    ("futures-channel" "0.3.34"
     "b1f9e3d69d39e4862ffed03ed071a76f9a13ba1d9109d355b0f0aa6b15e393c4")
    ("futures-core" "0.3.34"
     "92d699e522242e69e3003b94ecc1f960f3a5e015aa7c5d7486e65ad01dd94f5e")
    ("futures-executor" "0.3.34"
     "031b47cf1a3c6cc8bc2fc76cd437f521619387907d469316e7c0bc278f1f5432")
    ("futures-intrusive" "0.5.0"
     "1d930c203dd0b6ff06e0201a4a2fe9149b43c684fd4420555b26d21b1a02956f")
    ("futures-io" "0.3.34"
     "53c0fa8157de1303bfffdaa1cc2a673bfffb60102f76b0ef4441659124373fed")
    ("futures-macro" "0.3.34"
     "9fb9654ba8355388abeb8dcb4fc62f511300867002afc858860463bdd9fe0c44")
    ("futures-sink" "0.3.34"
     "1944426bf7d03f1d14f708785e4b33efd750b36d48a157b836b3efc15ede8e1d")
    ("futures-task" "0.3.34"
     "cd417de3d1d015fc3bfd2b1ea46dfc7bab72ef86f1cc7cc9c78e728b34a6d1fd")
    ("futures-util" "0.3.34"
     "0d50a92467f8ba5dd6e3ee5d4bd04d73ab2e4e1c44474a0674821dfce14b79bc")
    ("generic-array" "0.14.9"
     "4bb6743198531e02858aeaea5398fcc883e71851fcbcb5a2f773e2fb6cb1edf2")
    ("getrandom" "0.3.4"
     "899def5c37c4fd7b2664648c28120ecec138e4d395b459e5ca34f9cce2dd77fd")
    ("getrandom" "0.4.3"
     "300e883d756b2e4ec94e02791f39b04b522276138852cfc41d9fb7e904106099")
    ("git2" "0.21.0"
     "ddddbf932745a6be37109b6112d3ee09696106f848449069d3a57bba937ab82e")
    ("half" "2.7.1"
     "6ea2d84b969582b4b1864a92dc5d27cd2b77b622a8d79306834f1be5ba20d84b")
    ("hashbrown" "0.16.1"
     "841d1cc9bed7f9236f321df977030373f4a4163ae1a7dbfe1a51a2c1a51d9100")
    ("hashbrown" "0.17.1"
     "ed5909b6e89a2db4456e54cd5f673791d7eca6732202bbf2a9cc504fe2f9b84a")
    ("hashlink" "0.11.1"
     "824e001ac4f3012dd16a264bec811403a67ca9deb6c102fc5049b32c4574b35f")
    ("heck" "0.5.0"
     "2304e00983f87ffb38b55b444b5e3b60a884b5d30c0fca7d82fe33449bbe55ea")
    ("hex" "0.4.3"
     "7f24254aa9a54b5c858eaee2f5bccdb46aaf0e486a595ed5fd8f86ba55232a70")
    ("hkdf" "0.13.0"
     "4aaa26c720c68b866f2c96ef5c1264b3e6f473fe5d4ce61cd44bbe913e553018")
    ("hmac" "0.13.0"
     "6303bc9732ae41b04cb554b844a762b4115a61bfaa81e3e83050991eeb56863f")
    ("http" "1.5.0"
     "918d3568bebf352712bc2ef3d46a8bcf1a75b373be6539de198e9105cbbf9ce0")
    ("http-body" "1.1.0"
     "ca2a8f2913ee65f60facd6a5905613afaa448497a0230cc41ce022d93290bc2c")
    ("http-body-util" "0.1.5"
     "23169fe34a5fbcdd3f3862e78fb9b6fccd5f02a6dc6f732547005d45631ce71c")
    ("httparse" "1.10.1"
     "6dbf3de79e51f3d586ab4cb9d5c3e2c14aa28ed23d180cf89b4df0454a69cc87")
    ("httpdate" "1.0.3"
     "df3b46402a9d5adb4c86a0cf463f42e19994e3ee891101b1841f30a545cb49a9")
    ("hybrid-array" "0.4.15"
     "27f864f10dfb56725ce5ce5472bc52252c8f93a4ab86327122cebf62c5f59a17")
    ("hyper" "1.12.0"
     "2c3e324da4c95177d6291d4c8730197c0d1822f8a9766814a4a44fa5ab797c9c")
    ("hyper-tls" "0.6.0"
     "70206fc6890eaca9fde8a0bf71caa2ddfc9fe045ac9e5c70df101a7dbde866e0")
    ("hyper-util" "0.1.21"
     "ddc03d96684f9226b8a787cdb71488417b53ab5ea8fdb1dac946cb9431cc8bff")
    ("iana-time-zone" "0.1.65"
     "e31bc9ad994ba00e440a8aa5c9ef0ec67d5cb5e5cb0cc7f8b744a35b389cc470")
    ("iana-time-zone-haiku" "0.1.2"
     "f31827a206f56af32e590ba56d5d2d085f558508192593743f16b2306495269f")
    ("icu_collections" "2.4.0"
     "fe090a42a0d3140fed8c63263ed1fecc02422cb2f4bfe55cd8de2de1b8e105dd")
    ("icu_locale_core" "2.4.0"
     "25d29b57c17c6528d0dc4c2141cfa2d08200465acb537a3909c8b9b8a4a984c0")
    ("icu_normalizer" "2.4.0"
     "404a3b8c486f205c87fe7f23ab6894d84a4ad76d6e4671ae1981ba7def87c599")
    ("icu_normalizer_data" "2.4.0"
     "20f0088bfb7441f7a37fa0c9e20cb1e9cba1cac6b9ce8cd2a6dc44294f8e8cbc")
    ("icu_properties" "2.4.0"
     "2ea83d991c56158f7cf898bf86436c1dfe7c07ee82fe88951f2695c9f37a379f")
    ("icu_properties_data" "2.4.0"
     "b98f29af82d02b163fe50161388350e743bb3107cc8e8c2f7314cb505faddfcf")
    ("icu_provider" "2.4.0"
     "413099315636c588ee8f011190b329b971a09a8fae9d157e01dcae8379468514")
    ("idna" "1.1.0"
     "3b0875f23caa03898994f6ddc501886a45c7d3d62d04d2d90788d47be1b1e4de")
    ("idna_adapter" "1.2.2"
     "cb68373c0d6620ef8105e855e7745e18b0d00d3bdb07fb532e434244cdb9a714")
    ("indexmap" "2.14.2"
     "cc4e190f5d26ca7051642629da2c52fc03bde85a03197c99408dcd291734c855")
    ("indicatif" "0.18.6"
     "9433806cd6b4ec1aba79c021c7e4c58fb4c3b9977c085062e611ac929998fb0c")
    ("insta" "1.49.0"
     "b67d3d2e287e4b86c10b3f3b641033d1f89b74bdb39d05f34952e2b9a6fe21cd")
    ("ipnet" "2.12.2"
     "791930b43c0d5973160d90a8f3894509f2b273430f5c5c73b668636d0287c5c0")
    ("is_terminal_polyfill" "1.70.2"
     "a6cb138bb79a146c1bd460005623e142ef0181e3d0219cb493e02f7d08a35695")
    ("itertools" "0.13.0"
     "413ee7dfc52ee1a4949ceeb7dbc8a33f2d6c088194d9f922fb8318faf1f01186")
    ("itoa" "1.0.19"
     "3bd1574e617a9a6c1f8f8181bd7e841e1f20e4277607ef28945765188d6284d4")
    ("jobserver" "0.1.35"
     "1c00acbd29eabad4a2392fa0e921c874934dbbf4194312ad20f04a0ed67a3cb3")
    ("js-sys" "0.3.107"
     "8dc09d2154098bbf4ef54eab6b117a3c24cbbffe94046b16ee6d6d4510584d3a")
    ("keyutils" "0.4.0"
     "1c5d275b92e255aa97acd757f9bbc9ddbaa8d0938715c5cb6c28b3e00b773637")
    ("keyutils-raw" "0.4.0"
     "db322e79368bacfd8d7ecba9d9038866d2ff5e78b52377376f38b7360878392b")
    ("landlock" "0.4.8"
     "03795bb5dba9d001e861618f7301289e3ad0bb146d0a8192ff5fd8b06d069087")
    ("lazy_static" "1.5.1"
     "20870f649af7073d53e38067b2a84312175d56ea15217e1b15bc83506ec50afb")
    ("libc" "0.2.191"
     "65cd87c9a6d60536580b316ad985726104730a5151c99845f2490428ef91240a")
    ("libfuzzer-sys" "0.4.13"
     "a9fd2f41a1cba099f79a0b6b6c35656cf7c03351a7bae8ff0f28f25270f929d2")
    ("libgit2-sys" "0.18.8+1.9.7"
     "7f7c568b25d7489bc3fb2988ed69ab111d2944d2f5fec3d5c987fe545ea97b50")
    ("libmimalloc-sys" "0.1.49"
     "6a45a52f43e1c16f667ccfe4dd8c85b7f7c204fd5e3bf46c5b0db9a5c3c0b8e9")
    ("libsqlite3-sys" "0.37.0"
     "b1f111c8c41e7c61a49cd34e44c7619462967221a6443b0ec299e0ac30cfb9b1")
    ("libz-sys" "1.1.31"
     "ff20308ecabd635a2dc1dd5834a86c462cca20efba1d5d3ddab1f8aea3455cb2")
    ("linux-raw-sys" "0.12.1"
     "32a66949e030da00e8c7d4434b251670a91556f4144941d37452769c25d58a53")
    ("listenfd" "1.0.2"
     "b87bc54a4629b4294d0b3ef041b64c40c611097a677d9dc07b2c67739fe39dba")
    ("litemap" "0.8.3"
     "47d9d19d1d6efa0109d2f65ff4c85cddd50bd572e5a00127ab10987290bcefae")
    ("litrs" "1.0.1"
     "4744e383959f0db86ede514b809b1c53251889093803c05267acc7d4e7030d70")
    ("lock_api" "0.4.14"
     "224399e74b87b5f3557511d98dff8b14089b3dadafcab6bb93eab67d3aace965")
    ("log" "0.4.35"
     "5d15f86d12da44cd8d4ec3c73984537eb7f4cadcb9776a575a0a8a05ca11005c")
    ("matchers" "0.2.0"
     "d1525a2a28c7f4fa0fc98bb91ae755d1e2d1505079e05539e35bc876b5d65ae9")
    ("matchit" "0.8.4"
     "47e1ffaa40ddd1f3ed91f717a33c8c0ee23fff369e3aa8772b9605cc1d22f4c3")
    ("md-5" "0.11.0"
     "69b6441f590336821bb897fb28fc622898ccceb1d6cea3fde5ea86b090c4de98")
    ("memchr" "2.8.3"
     "cf8baf1c55e62ffcace7a9f06f4bd9cd3f0c4beb022d3b367256b91b87513d98")
    ("mimalloc" "0.1.52"
     "2d4139bb28d14ad1facf21d5eb8825051b326e172d216b39f6d31df53cc97862")
    ("mime" "0.3.18"
     "d5848f5a9e8117cf94f2f90faac24a87ff81600ff8628c1e3deaab572e76bfa1")
    ("mio" "1.2.5"
     "20521a903f02b0a573cd6840e9d0a5a0cc043d361fe924092cd70f8556cc9c4a")
    ("native-tls" "0.2.18"
     "465500e14ea162429d264d44189adc38b199b62b1c21eea9f69e4b73cb03bbf2")
    ("nix" "0.31.4"
     "2bc81ce8148d3b4f3274da811f11cdd824ae661ee4ef732cdb229825cf5be7f7")
    ("nu-ansi-term" "0.50.3"
     "7957b9740744892f114936ab4a57b3f487491bbeafaf8083688b16841a4240e5")
    ("num-traits" "0.2.19"
     "071dfc062690e90b734c0b2273ce72ad0ffa95f0c74596bc250dcfd960262841")
    ("once_cell" "1.21.4"
     "9f7c3e4beb33f85d45ae3e3a1792185706c8e16d043238c593331cc7cd313b50")
    ("once_cell_polyfill" "1.70.2"
     "384b8ab6d37215f3c5301a95a4accb5d64aa607f1fcb26a11b5303878451b4fe")
    ("oorandom" "11.1.5"
     "d6790f58c7ff633d8771f42965289203411a5e5c68388703c06e14f24770b41e")
    ("openssl" "0.10.82"
     "4de8111e94a56adca7ebfe6c365b6d42f99deb69b74b6becacd4204e2f193aa2")
    ("openssl-macros" "0.1.1"
     "a948666b637a0f465e8564c73e89d4dde00d72d4d473cc972f390fc3dcee7d9c")
    ("openssl-probe" "0.2.2"
     "7e036b411754132fd6b74e94b74e9a13c5cf606fa93d1885c35860d3060820b1")
    ("openssl-sys" "0.9.118"
     "19c413d6ec9ebaf5e1c829d355cb3e9f783778d700f135be0921d52fce3c60ae")
    ("page_size" "0.6.0"
     "30d5b2194ed13191c1999ae0704b7839fb18384fa22e49b57eeaa97d79ce40da")
    ("parking" "2.2.1"
     "f38d5652c16fde515bb1ecef450ab0f6a219d619a7274976324d5e377f7dceba")
    ("parking_lot" "0.12.5"
     "93857453250e3077bd71ff98b6a65ea6621a19bb0f559a85248955ac12c45a1a")
    ("parking_lot_core" "0.9.12"
     "2621685985a2ebf1c516881c026032ac7deafcda1a2c9b7850dc81e3dfcb64c1")
    ("percent-encoding" "2.3.2"
     "9b4f627cb1b25917193a259e49bdad08f671f8d9708acfd5fe0a8c1455d87220")
    ("phf" "0.11.3"
     "1fd6780a80ae0c52cc120a26a1a42c1ae51b247a253e4e06113d23d2c2edd078")
    ("phf_generator" "0.11.3"
     "3c80231409c20246a13fddb31776fb942c38553c51e871f8cbd687a4cfb5843d")
    ("phf_macros" "0.11.3"
     "f84ac04429c13a7ff43785d75ad27569f2951ce0ffd30a3321230db2fc727216")
    ("phf_shared" "0.11.3"
     "67eabc2ef2a60eb7faa00097bd1ffdb5bd28e62bf39990626a582201b7a754e5")
    ("pin-project-lite" "0.2.18"
     "c938015719552d665fd0553b90d96cd7ff58e83e4c061ca99e6bb78865a72752")
    ("pkg-config" "0.3.34"
     "f6b464fbc74e149a392436b17d523f769e057cb6877f6a5c4618bc6f11800548")
    ("portable-atomic" "1.15.0"
     "05c8b63e8d9609db387f0324918f81d68fe27748f084ef092fb35954d0539a85")
    ("postcard" "1.2.0"
     "5431b3dcfdf6d1985c87d11f267a171c0dec0a8cd544c6727b747d36365f1fca")
    ("potential_utf" "0.1.6"
     "d83eb9bc6d8e5cf568e7a1101d60ee05e81ed50ea106026f3d18deeb046d7661")
    ("proc-macro2" "1.0.107"
     "985e7ec9bb745e6ce6535b544d84d6cd6f7ad8bd711c398938ae983b91a766d9")
    ("prometheus-client" "0.26.0"
     "f021d42d29841d029b61b45a25a7ef94feaf1d744913e59665103333a56045b8")
    ("prometheus-client-derive-encode" "0.5.1"
     "01e34894696ff94f64a20c2c373a6440903e9c2789a303d68ec6e6f953f890e4")
    ("proptest" "1.12.0"
     "b8530004ccb15eae51c7e40009fbe317f341f804db54dc033eec1c50be28cfa0")
    ("quote" "1.0.47"
     "1fbf4db142a473a8d80c26bbf18454ed458bf8d26c8219c331daecfdbd079001")
    ("r-efi" "5.3.0"
     "69cdb34c158ceb288df11e18b4bd39de994f6657d83847bdffdbd7f346754b0f")
    ("r-efi" "6.0.0"
     "f8dcc9c7d52a811697d2151c701e0d08956f92b0e24136cf4cf27b57a6a0d9bf")
    ("rand" "0.8.8"
     "e058c7de0b26af77780c769414d6257830bb240f3c38477dbc2c16e5f54d6d4c")
    ("rand" "0.10.4"
     "8f6fa277c67e6ea590466f04c3fe82cb509f0864fe470643e5570de9514a9b11")
    ("rand_core" "0.6.4"
     "ec0be4795e2f6a28069bec0b5ff3e2ac9bafc99e6a9a7dc3547996c5c816922c")
    ("rand_core" "0.10.1"
     "63b8176103e19a2643978565ca18b50549f6101881c443590420e4dc998a3c69")
    ("rand_xorshift" "0.5.0"
     "60aa6af80be32871323012e02e6e65f8a7cc7890931ae421d217ad8fe0df2ccf")
    ("redox_syscall" "0.5.18"
     "ed2bf2547551a7053d6fdfafda3f938979645c44812fbfcda098faae3f1a362d")
    ("ref-cast" "1.0.27"
     "7e440fb4e4b4147295338efb76001ab9e4efc0e5839df2c47fc5ac2381d365c3")
    ("ref-cast-impl" "1.0.27"
     "92ecd8964f8453721699a1ed72037b0db49ce2f5a5138486ee89bed6f67cdf3a")
    ("regex" "1.13.2"
     "9807af0e638c12e753aa1b4e601791bf2a8f71274023c8bbeec12fc149950857")
    ("regex-automata" "0.4.19"
     "41d60ef07df457506a0a1a2073112eb4aae5733dbd2813c3da77d1b0fd441158")
    ("regex-syntax" "0.8.12"
     "d902046e6a28a1e4c3cab97258a0ce11e994903f01c2d97a9447a0b3df85f4f6")
    ("reqwest" "0.13.5"
     "16a1cfa75cc186dd73d5818e510e042e40927bccc9c236b061cea97e1eb08029")
    ("roff" "1.1.1"
     "323c417e1d9665a65b263ec744ba09030cfb277e9daa0b018a4ab62e57bc8189")
    ("rustc-hash" "2.1.3"
     "6b1e7f9a428571be2dc5bc0505c13fb6bf936822b894ec87abf8a08a4e51742d")
    ("rustc_version" "0.4.1"
     "cfcb3a22ef46e85b45de6ee7e79d063319ebb6594faafcf1c225ea92ab6e9b92")
    ("rustix" "1.1.6"
     "e5e76742e5294153d4dde1207dbec5bdd81eef6fabdc0d2118babadabfd858aa")
    ("rustls-pki-types" "1.16.0"
     "102f35f7de7b06d8c61f1cff6592f5253e0dea431c74867aad5dfd70f44663fb")
    ("rustversion" "1.0.23"
     "cf54715a573b99ac80df0bc206da022bcd442c974952c7b9720069370852e21f")
    ("ryu" "1.0.23"
     "9774ba4a74de5f7b1c1451ed6cd5285a32eddb5cccb8cc655a4e50009e06477f")
    ("same-file" "1.0.6"
     "93fc1dc3aaa9bfed95e02e6eadabb4baf7e3078b0bd1b4d7b6b0b68378900502")
    ("schannel" "0.1.30"
     "9cb23c424d8ee841bb4d813677ca237e2a610067d594fec130f87d6093495ab5")
    ("schemars" "1.2.3"
     "ab508826f74a77ca9d5aba6ff19b522583ee3eaf28a19384ff3d0e5835fadf6e")
    ("schemars_derive" "1.2.3"
     "e1c3a92094fa7d61aa124645844facb6b554dfc797136d0f5fd1f890e2bffc69")
    ("scopeguard" "1.2.0"
     "94143f37725109f92c262ed2cf5e59bce7498c01bcc1502d7b9afe439a4e9f49")
    ("sd-notify" "0.5.0"
     "3e4ef7359e694bfaf1dd27a30f9d760b54c00dfae9f19bd0c05a39bc9128fe76")
    ("seccompiler" "0.5.0"
     "a4ae55de56877481d112a559bbc12667635fdaf5e005712fd4e2b2fa50ffc884")
    ("security-framework" "3.7.0"
     "b7f4bc775c73d9a02cde8bf7b2ec4c9d12743edf609006c7facc23998404cd1d")
    ("security-framework-sys" "2.17.0"
     "6ce2691df843ecc5d231c0b14ece2acc3efb62c0a398c7e1d875f3983ce020e3")
    ("semver" "1.0.28"
     "8a7852d02fc848982e0c167ef163aaff9cd91dc640ba85e263cb1ce46fae51cd")
    ("serde" "1.0.229"
     "4148590afebada386688f18773da617792bf2ef03ffc1e4cbd2b1d45b023e0ba")
    ("serde_core" "1.0.229"
     "67dca2c9c51e58a4791a4b1ed58308b39c64224d349a935ab5039aa360942a48")
    ("serde_derive" "1.0.229"
     "e7a5d71263a5a7d47b41f6b3f06ba276f10cc18b0931f1799f710578e2309348")
    ("serde_derive_internals" "0.30.0"
     "f852137cce035d6a4df67ccce505ff6b3e9fd3a10e3e52b24dc71e650bb1a9bd")
    ("serde_json" "1.0.154"
     "e7e9cc8b1b85264074fbcc02a88680c4096b1e47df8f739dceb03bf482f04bd6")
    ("serde_path_to_error" "0.1.20"
     "10a9ff822e371bb5403e391ecd83e182e0e77ba7f6fe0160b795797109d1b457")
    ("serde_spanned" "1.1.3"
     "9c187e0a369471c550af028cba56d4f4fa2a489ad28151ae95a4d340a2a8b782")
    ("serde_urlencoded" "0.7.1"
     "d3491c14715ca2294c4d6a88f15e84739788c1d030eed8c110436aafdaa2f3fd")
    ("sha1" "0.11.0"
     "aacc4cc499359472b4abe1bf11d0b12e688af9a805fa5e3016f9a386dc2d0214")
    ("sha2" "0.10.9"
     "a7507d819769d01a365ab707794a4084392c824f54a7a6a7862f8c3d0892b283")
    ("sha2" "0.11.1"
     "47d7069beb7d6ac7b9acd1039986e73443f24234f41074da099d6f994ac9ad19")
    ("sharded-slab" "0.1.7"
     "f40ca3c46823713e0d4209592e8d6e826aa57e928f09752619fc696c499637f6")
    ("shlex" "2.0.1"
     "f8fadd59c855ef2080decdef8ff161eb6661b86933c9d82e5ba29dc602a55aba")
    ("signal-hook" "0.4.6"
     "49f7447afd772ca79ad17ae0a3972a6b0df0cb4b80990fd82707593e9e012a74")
    ("signal-hook-registry" "1.4.8"
     "c4db69cba1110affc0e9f7bcd48bbf87b3f4fc7c61fc9155afd4c469eb3d6c1b")
    ("similar" "2.7.0"
     "bbbb5d9659141646ae647b42fe094daf6c6192d1620870b449d9557f748b2daa")
    ("siphasher" "1.0.4"
     "33f4fe9184a62d842c9ef383018f3306d8ba224fd9d836f56d7288308847c256")
    ("slab" "0.4.12"
     "0c790de23124f9ab44544d7ac05d60440adc586479ce501c1d6d7da3cd8c9cf5")
    ("smallvec" "1.16.6"
     "3244542535d5de959d90ec55d1b5ff0fd2bb7b1310223907d5f11932847f7b59")
    ("socket2" "0.6.5"
     "c3d1e2c7f27f8d4cb10542a02c49005dbd6e93095799d6f3be745fae9f8fedd4")
    ("spdx" "0.13.6"
     "646c5a367da914e3babcb9cd8e91c37ccaac42325b8f86f036513ad103f2a716")
    ("spin" "0.9.9"
     "3763264f6b73151db08c50ff20d7d8a0b8796e021cdea7ceedad07b80155fa0e")
    ("sqlx" "0.9.0"
     "378620ccc25c62c89d8be1c819e76a88d59bdcc3304733330788948e619bfd71")
    ("sqlx-core" "0.9.0"
     "05b44e85bf579a8eeb4ceaa77a3a523baf2bf0e9bac7e40f405d537b5d2d5ccb")
    ("sqlx-macros" "0.9.0"
     "bd2b84f2bc39a5705ef27ec785a11c934a41bbd4a24941e257927cddc26b60bf")
    ("sqlx-macros-core" "0.9.0"
     "fb8d96de5fdc85a5c4ec813432b523ec637e80ba98f046555f75f7908ddac7c3")
    ("sqlx-mysql" "0.9.0"
     "90b8020fe17c5f2c245bfa2505d7ef59c5604839527c740266ad2214acebea27")
    ("sqlx-postgres" "0.9.0"
     "87a2bdd6e83f6b3ea525ca9fee568030508b58355a43d0b2c1674d5f79dcd65e")
    ("sqlx-sqlite" "0.9.0"
     "488e99c397a62007e4229aec669a179816339afc6d2620ca6fa420dbee2e982c")
    ("stable_deref_trait" "1.2.1"
     "6ce2be8dc25455e1f91df71bfa12ad37d7af1092ae736f3a6cd0e37bc7810596")
    ("stringprep" "0.1.5"
     "7b4df3d392d81bd458a8a621b8bffbd2302a12ffe288a9d931670948749463b1")
    ("strsim" "0.11.1"
     "7da8b5736845d9f2fcb837ea5d9e2628564b3b043a70948a3f0b778838c5fb4f")
    ("subtle" "2.6.1"
     "13c2bddecc57b384dee18652358fb23172facb8a2c51ccc10d74c157bdea3292")
    ("syn" "2.0.119"
     "872831b642d1a07999a962a351ed35b955ea2cfc8f3862091e2a240a84f17297")
    ("syn" "3.0.10"
     "4ae9ccbea3a7b0b09443036490c8f34a8b1b760fd345e5c0dae0aac718faea79")
    ("sync_wrapper" "1.0.2"
     "0bf256ce5efdfa370213c1dabab5935a12e49f2c58d15e9eac2870d3b4f27263")
    ("synstructure" "0.14.0"
     "901704edd0dfe137f1987838ee4f259e4e063c31371bdb423f7ae38ec6f77f02")
    ("tempfile" "3.27.0"
     "32497e9a4c7b38532efcdebeef879707aa9f794296a4f0244f6f69e9bc8574bd")
    ("terminal_size" "0.4.4"
     "230a1b821ccbd75b185820a1f1ff7b14d21da1e442e22c0863ea5f08771a8874")
    ("thiserror" "2.0.21"
     "09e52cb86a36cede5cb101bf8908837b3e4c6e5e59fe7fd85c23fb56200d189e")
    ("thiserror-impl" "2.0.21"
     "fe5197923287db20a58125f0bc85c062f7f2c892de97b18c356f9efb14b28524")
    ("thread_local" "1.1.10"
     "1ad99c4c6d32803332c548b1af0540b357b3f5fc0be8f6c6bfe8b2e6ae784070")
    ("tinystr" "0.8.5"
     "abc840c238154d58f9e86b2792261edfde565a17696e1cda1a449de27979801a")
    ("tinytemplate" "1.2.1"
     "be4d6b5f19ff7664e8c98d03e2139cb510db9b0a60b55f8e8709b689d939b6bc")
    ("tinyvec" "1.13.3"
     "fd3ca314f692efd6c868f8408f53fe444634a845f96c028b97d35f6a1f79f0ee")
    ("tokio" "1.54.1"
     "b52fd3255258d26fac7264ab5a76b53c13367136dc011d3d6ad4f8ed070396a3")
    ("tokio-macros" "2.7.2"
     "78773a2a397f451582ce068015985c33193cf6dea8b74d2a639fe457b2f07b0e")
    ("tokio-native-tls" "0.3.1"
     "bbae76ab933c85776efabc971569dd6119c580d8f5d448769dec1764bf796ef2")
    ("tokio-stream" "0.1.19"
     "a3d06f0b082ba57c26b79407372e57cf2a1e28124f78e9479fe80322cf53420b")
    ("tokio-util" "0.7.20"
     "e464cf451ba96ebfc6f9b6542f17ee8b8956e33f1e40d9690624e59d7a7f8a4b")
    ("toml" "1.2.1+spec-1.1.0"
     "d5755c51863cdac711f1956baf8eb9588e060755f7d3c4c979e70ea1e1f32cd7")
    ("toml_datetime" "1.1.3+spec-1.1.0"
     "173f25c883cd2176a2d8212155638c0a60d484a9d84546d270866f40f56b6e49")
    ("toml_parser" "1.1.5+spec-1.1.0"
     "baa693a8032d7e1cada7d0041e96126df243179ff061456783ac7f12bda4744c")
    ("toml_writer" "1.2.0+spec-1.1.0"
     "009dbb7700f11c55ef83aebbe4c0e9cf1f1ac0844bd8d6f00dc38f302026e13a")
    ("tower" "0.5.3"
     "ebe5ef63511595f1344e2d5cfa636d973292adc0eec1f0ad45fae9f0851ab1d4")
    ("tower-http" "0.6.11"
     "4cfcf7e2740e6fc6d4d688b4ef00650406bb94adf4731e43c096c3a19fe40840")
    ("tower-layer" "0.3.3"
     "121c2a6cda46980bb0fcd1647ffaf6cd3fc79a013de288782836f6df9c48780e")
    ("tower-service" "0.3.3"
     "8df9b6e13f2d32c91b9bd719c00d1958837bc7dec474d94952798cc8e69eeec3")
    ("tracing" "0.1.44"
     "63e71662fa4b2a2c3a26f570f037eb95bb1f85397f3cd8076caed2f026a6d100")
    ("tracing-attributes" "0.1.31"
     "7490cfa5ec963746568740651ac6781f701c9c5ea257c58e057f3ba8cf69e8da")
    ("tracing-core" "0.1.36"
     "db97caf9d906fbde555dd62fa95ddba9eecfd14cb388e4f491a66d74cd5fb79a")
    ("tracing-log" "0.2.0"
     "ee855f1f400bd0e5c02d150ae5de3840039a3f54b025156404e34c23c03f47c3")
    ("tracing-serde" "0.2.0"
     "704b1aeb7be0d0a84fc9828cae51dab5970fee5088f83d1dd7ee6f6246fc6ff1")
    ("tracing-subscriber" "0.3.23"
     "cb7f578e5945fb242538965c2d0b04418d38ec25c79d160cd279bf0731c8d319")
    ("try-lock" "0.2.5"
     "e421abadd41a4225275504ea4d6566923418b7f05506fbc9c0fe86ba7396114b")
    ("typenum" "1.20.1"
     "b6f5e870be6c3b371b77fe0ee0bafb859fa4964b4404c27de1d380043c4dda20")
    ("unarray" "0.1.4"
     "eaea85b334db583fe3274d12b4cd1880032beab409c0d774be044d4480ab9a94")
    ("unicode-bidi" "0.3.18"
     "5c1cb5db39152898a79168971543b1cb5020dff7fe43c8dc468b0885f5e29df5")
    ("unicode-ident" "1.0.27"
     "a2c754d6c33795a1c324727428e5a7dedb5b06195f9890bdbcba760d3e246563")
    ("unicode-normalization" "0.1.26"
     "75cd3fb03d5288b3ba9a1ee103ac7e9cbb59f0b03d64f8ddfcc04dd42758a85d")
    ("unicode-properties" "0.1.5"
     "993ad287eb20e8ba755312801cfe1413e0f25d604075863acaddca10b04c1833")
    ("unicode-segmentation" "1.13.3"
     "c6f5d3c3b1bf09027a88a6bc961fc00497d651009560b5463668dc81b0fa87a8")
    ("unicode-width" "0.2.3"
     "ca718471876992059f251e33aafc334346ada08042b7661dd1fe313a9bced557")
    ("uninit" "0.3.0"
     "ac20c07bcac4f505f1e4fbd2e55b54f6297a35a27538f107cb3d4254b4514146")
    ("unit-prefix" "0.5.2"
     "81e544489bf3d8ef66c953931f56617f423cd4b5494be343d9b9d3dda037b9a3")
    ("url" "2.5.8"
     "ff67a8a4397373c3ef660812acab3268222035010ab8680ec4215f38ba3d0eed")
    ("utf8_iter" "1.1.0"
     "af3bd9d3e571c26fcce9d033b87ea5ab061b8d2ffe9b7a5675d810d68f03edf0")
    ("utf8parse" "0.2.2"
     "06abde3611657adf66d383f00b093d7faecc7fa57071cce2578660c9f1010821")
    ("utf_types" "1.0.0"
     "3a3b425286980a367278453f3b6d28cdcb134b574e5a35824a6ff5eebad50bb6")
    ("uuid" "1.29.3"
     "3c14b15dffa2f4bd712103e857140aa04a4f2ff6e955c77d7eb8e53ee02a3b64")
    ("valuable" "0.1.1"
     "ba73ea9cf16a25df0c8caa16c51acb937d5712a8429db78a3ee29d5dcacd3a65")
    ("vcpkg" "0.2.15"
     "accd4ea62f7bb7a82fe23066fb0957d48ef677f6eeb8215f372f52e48bb32426")
    ("version_check" "0.9.5"
     "0b928f33d975fc6ad9f86c8f283853ad26bdd5b10b7f1542aa2fa15e2289105a")
    ("walkdir" "2.5.0"
     "29790946404f91d9c5d06f9874efddea1dc06c5efe94541a7d6863108e3a5e4b")
    ("want" "0.3.2"
     "ec4cdd0dd910afe868b7ef477227d8d538b46b3075031afee8a9f2acb0a2ed0b")
    ("wasi" "0.11.1+wasi-snapshot-preview1"
     "ccf3ec651a847eb01de73ccad15eb7d99f80485de043efb2f370cd654f4ea44b")
    ("wasip2" "1.0.4+wasi-0.2.12"
     "b67efb37e106e55ce722a510d6b5f9c17f083e5fc79afc2badeb12cc313d9487")
    ("wasm-bindgen" "0.2.130"
     "a0181c14ddd6c7b8b0b0132a5f1ea2f32be0d893cd3ea97b6e3b28886b8a3d1c")
    ("wasm-bindgen-futures" "0.4.80"
     "5e14e0327cb5368ad60ccb22d04a9827a693c95a926d8d125e9fa39e0baec501")
    ("wasm-bindgen-macro" "0.2.130"
     "6e931a02a39abdbf66966fc35902b5ed58344750a70885bed4ebb3d8eaf28ed9")
    ("wasm-bindgen-macro-support" "0.2.130"
     "2ca4b54280e455bd831e33a6b8e734baf432fe63fbc35c42ac14ce67a043a53a")
    ("wasm-bindgen-shared" "0.2.130"
     "3b1f9c3798725016c6ee5f2f57869ec0831e8bbc0ab0310a86e787e97f41389e")
    ("web-sys" "0.3.107"
     "d7d179596ff5ec0f6de4db64d54011bde6289cc49603d3a6e4ce3f329207ab88")
    ("web-time" "1.1.0"
     "5a6580f308b1fad9207618087a65c04e7a10bc77e02c8e84e9b00dd4b12fa0bb")
    ("whoami" "2.1.3"
     "626c4bac6755d76ffc12cb01b2eac751db1996b9e0041de9aa02c8c211ddc82c")
    ("winapi" "0.3.9"
     "5c839a674fcd7a98952e593242ea400abe93992746761e38641405d28b00f419")
    ("winapi-i686-pc-windows-gnu" "0.4.0"
     "ac3b87c63620426dd9b991e5ce0329eff545bccbbb34f3be09ff6fb6ab51b7b6")
    ("winapi-util" "0.1.11"
     "c2a7b1c03c876122aa43f3020e6c3c3ee5c05081c9a00739faf7503aeba10d22")
    ("winapi-x86_64-pc-windows-gnu" "0.4.0"
     "712e227841d057c1ee1cd2fb22fa7e5a5461ae8e48fa2ca79ec42cfc1931183f")
    ("windows-core" "0.62.2"
     "b8e83a14d34d0623b51dce9581199302a221863196a1dde71a7663a4c2be9deb")
    ("windows-implement" "0.60.2"
     "053e2e040ab57b9dc951b72c264860db7eb3b0200ba345b4e4c3b14f67855ddf")
    ("windows-interface" "0.59.3"
     "3f316c4a2570ba26bbec722032c4099d8c8bc095efccdc15688708623367e358")
    ("windows-link" "0.2.1"
     "f0805222e57f7521d6a62e36fa9163bc891acd422f971defe97d64e70d0a4fe5")
    ("windows-result" "0.4.1"
     "7781fa89eaf60850ac3d2da7af8e5242a5ea78d1a11c49bf2910bb5a73853eb5")
    ("windows-strings" "0.5.1"
     "7837d08f69c77cf6b07689544538e017c1bfcf57e34b4c0ff58e6c2cd3b37091")
    ("windows-sys" "0.61.2"
     "ae137229bcbd6cdf0f7b80a31df61766145077ddf49416a728b02cb3921ff3fc")
    ("winnow" "0.7.15"
     "df79d97927682d2fd8adb29682d1140b343be4ac0f08fd68b7765d9c059d3945")
    ("winnow" "1.0.5"
     "8c3b93199df0ab874cdf0c6a94f0a0dc3423fe41f1cafb62b8bd7b1deb277aef")
    ("wit-bindgen" "0.57.1"
     "1ebf944e87a7c253233ad6766e082e3cd714b5d03812acc24c318f549614536e")
    ("writeable" "0.6.4"
     "3ad82d2a33cdc9674dc7465672f271e096168fcdbe0f799d9e6db8c5892679dc")
    ("yoke" "0.8.4"
     "417ef3fcf6c300b7dbd25c85531a746931c02ad536f3cf4786ed1e88223340b3")
    ("yoke-derive" "0.8.4"
     "ec8ebde2db3681e8c9980cc27822030e68752690ddfa9473e739aeb4dbde6d71")
    ("zerocopy" "0.8.63"
     "e5fe1f8f1b06191a00962174c61aa5005e0bb391a6d80d07e24d115c01a92ed8")
    ("zerocopy-derive" "0.8.63"
     "863ad3ac83293fb4d740aedbfdc9240dd8d1a50c1099acd76ce80ce7c7230c7f")
    ("zerofrom" "0.1.8"
     "0ec05a11813ea801ff6d75110ad09cd0824ddba17dfe17128ea0d5f68e6c5272")
    ("zerofrom-derive" "0.1.8"
     "f75b4683f6c7f45248d4d64056a24298c6281e0993356d7d1b4a1a962ef10d4a")
    ("zeroize" "1.9.2"
     "85ccff8a4805aba1eaa4cd4afcd49f7557dd2cf5fd79ffc37f8959466effc5aa")
    ("zerotrie" "0.2.5"
     "4ea269c3bd32f0a32c321907a2ae912ba6f4649bb0fc764a15627e99a7095a3f")
    ("zerovec" "0.11.9"
     "f58a2799cfe9a1670c7ea8edbd52ef8edb93cb37a7f83bf31ba9e35d9dae6a40")
    ("zerovec-derive" "0.11.7"
     "c3743ddbf47738d929cd1ae2e199d40d0162979dfe31aef8ae646d2bf00bf97a")
    ("zmij" "1.0.23"
     "29666d0abbfad1e3dc4dcf6144730dd3a3ab225bbbdac83319345b1b44ccfc1b")
    ("zstd" "0.14.4"
     "ad5020ab8f27bfc0024ad0a07aed6bf022a16208f479686fbed4fdd0c85eb0b3")
    ("zstd-safe" "8.3.0"
     "5a9ea9cc2576c2fcc104e9cec04f46e3ede564f4fbc206831e4ef7e859a4140d")
    ("zstd-sys" "2.1.3+zstd.1.5.7"
     "f729a06d0257428fd9d997ac8db7e1407bd0262ab016b085b36bc52957c0052d")
    ))
