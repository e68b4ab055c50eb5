use stemedb_probe::kernel::*;
fn main() {
    env_logger::init();
    let t=std::time::Instant::now();
    let s=Sizes{targets:1,classes:2,process_rules:0,class_rules:0,exe_paths:true,cgroups:true};
    let mut k=Kernel::load(s,None).unwrap();
    println!("load {:?}",t.elapsed());
    let names: Vec<&str>=CAPABILITIES.iter().map(|c|c.name).collect();
    let r=k.attach(&names);
    println!("attach {:?}",t.elapsed());
    println!("{:#?} {:?}",k.verdicts(),r);
}
